"""FastAPI + Celery: a validated body, `send_task` on a thread (it blocks), 202."""

import os

import uvicorn
from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

celery = Celery("bench", broker=os.environ["BENCH_URL"])
app = FastAPI()


class Work(BaseModel):
    """A small job."""

    number: int
    note: str = ""


@app.post("/work", status_code=202)
def work(body: Work) -> dict[str, str]:
    """Enqueue the job."""
    return {"id": celery.send_task("work", (body.number, body.note), ignore_result=True).id}


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="error"
    )

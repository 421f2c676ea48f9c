"""FastAPI + arq: a validated body, `enqueue_job`, 202."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from arq.connections import RedisSettings, create_pool
from fastapi import FastAPI, Request
from pydantic import BaseModel


class Work(BaseModel):
    """A small job."""

    number: int
    note: str = ""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the connection pool."""
    app.state.arq = await create_pool(RedisSettings.from_dsn(os.environ["BENCH_URL"]))
    yield
    await app.state.arq.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/work", status_code=202)
async def work(body: Work, request: Request) -> dict[str, str]:
    """Enqueue the job."""
    job = await request.app.state.arq.enqueue_job("work", body.number, body.note)
    return {"id": job.job_id}


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="error"
    )

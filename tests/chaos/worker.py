"""python -m tests.chaos.worker: a worker whose every job leaves a row, in the transaction that ends it.

Some jobs fan out first; they and each of their children leave one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel
from sqlalchemy import text

from libs.common.config import WorkerSettings
from libs.common.db import Connection
from libs.common.errors import Reject
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import State
from libs.common.worker.job import Done, Effects, FanOut, Job
from libs.common.worker.service import Platform, Service, main

QUEUE = "chaos"
SLOTS = 10


class Settings(WorkerSettings):
    """Nothing of its own."""

    @property
    def slots(self) -> int:
        """Jobs at once."""
        return SLOTS


class Work(BaseModel):
    """How long the job sleeps, for how long its first attempt blocks the event loop, how many children it has."""

    sleep_s: float
    block_s: float = 0.0
    children: int = 0


@asynccontextmanager
async def resources(_settings: Settings, _platform: Platform) -> AsyncIterator[None]:
    """Needs nothing."""
    yield


async def handle(job: Job[Work], _deps: None) -> Done | FanOut:
    """Sleep, and count once; where there are to be children, when they have."""
    if job.payload.children and not job.children:
        child = Work(sleep_s=job.payload.sleep_s).model_dump_json().encode()
        return FanOut(tuple(NewChild("child", child) for _ in range(job.payload.children)))
    succeeded = sum(child.state is State.SUCCEEDED for child in job.children)
    if succeeded != job.payload.children:
        raise Reject(f"{succeeded} of {job.payload.children} children succeeded.")
    if job.payload.block_s and job.attempt == 1:
        time.sleep(job.payload.block_s)
    await asyncio.sleep(job.payload.sleep_s)
    return Done({}, effects=_count(job))


def _count(job: Job[Work]) -> Effects:
    async def effects(connection: Connection) -> None:
        row = {"job": job.id, "attempt": job.attempt}
        await connection.execute(text("INSERT INTO effects (job, attempt) VALUES (:job, :attempt)"), row)

    return effects


if __name__ == "__main__":
    main(Service(QUEUE, Settings, Work, resources, handle))

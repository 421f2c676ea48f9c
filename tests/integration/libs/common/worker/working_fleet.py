"""A dispatcher and workers for the tests of the worker runtime."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from libs.common.backoff import Backoff
from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.ledger import jobs
from libs.common.ledger.jobs import NewJob
from libs.common.worker.job import Done, Job
from libs.common.worker.worker import Worker
from services.gateway.engine.dispatcher import Dispatcher
from tests.polling import until


class Payload(BaseModel):
    """What to do."""

    do: str = "nothing"


Handle = Callable[[Job[Payload], None], Awaitable[Done]]


class Fleet:
    """A dispatcher, and workers that come and go."""

    def __init__(self, database: Database, bus: Bus, queue: str) -> None:
        self.database = database
        self.bus = bus
        self.queue = queue
        self.dispatcher = Dispatcher(database, bus, [queue])

    async def submit(self, do: str = "nothing", *, tenant: str = "dev", **changes: Any) -> UUID:
        """A new job; `changes` are facts of a NewJob."""
        payload = Payload(do=do).model_dump_json().encode()
        job = NewJob(tenant, "key", self.queue, "test", payload, **changes)
        await self.dispatcher.accept(job)
        return job.id

    async def facts(self, job_id: UUID) -> dict[str, Any]:
        """What its tenant is shown of a job."""
        (row,) = await self.database.fetch("SELECT tenant FROM ledger.jobs WHERE id = $1", job_id)
        found = await jobs.find(self.database, row[0], job_id)
        assert found is not None
        return dict(found)

    async def ended(self, job_id: UUID) -> dict[str, Any]:
        """Its facts when it has ended."""

        async def has_ended() -> dict[str, Any] | None:
            facts = await self.facts(job_id)
            return facts if facts["finished_at"] else None

        found = await until(has_ended)
        assert found is not None
        return found

    async def becomes(self, job_id: UUID, state: str) -> None:
        """Wait until it is in that state."""

        async def is_so() -> bool:
            return bool((await self.facts(job_id))["state"] == state)

        await until(is_so)

    @asynccontextmanager
    async def working(
        self, handle: Handle, *, slots: int = 4, grace_s: float = 60
    ) -> AsyncIterator[asyncio.Event]:
        """A worker while the block runs; setting the event tells it to stop."""
        stop = asyncio.Event()
        worker: Worker[Payload, None] = Worker(
            self.queue,
            Payload,
            handle,
            None,
            database=self.database,
            bus=self.bus,
            slots=slots,
            grace_s=grace_s,
            backoff=lambda _kind: Backoff(0.01, 0.01),
        )

        async def work() -> None:
            async with worker.lease.kept():
                await worker.run(stop)

        running = asyncio.create_task(work())
        try:
            yield stop
        finally:
            stop.set()
            await running

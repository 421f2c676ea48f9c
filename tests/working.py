"""A worker that does jobs while a test goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from libs.common.bus import Bus
from libs.common.contracts.services import ServiceRow
from libs.common.db import Database
from libs.common.worker.worker import Worker


@asynccontextmanager
async def working(
    service: ServiceRow,
    payload: type[BaseModel],
    handle: Any,
    deps: Any,
    *,
    database: Database,
    bus: Bus,
    slots: int,
) -> AsyncIterator[None]:
    """Do the jobs of a queue while the block runs. Somebody else hands them out."""
    stop = asyncio.Event()
    worker = Worker(service.name, payload, handle, deps, database=database, bus=bus, slots=slots, grace_s=5)
    async with worker.lease.kept():
        work = asyncio.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            await work

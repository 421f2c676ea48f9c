"""The sync worker's job handler. Read this first.

`housekeeping` comes from the fleet's schedule, every night.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from libs.common.contracts.sync import HousekeepingPayload, SyncPayload
from libs.common.db import Database
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform
from services.sync.config import Settings
from services.sync.housekeeping import keep_house


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`."""
    yield Deps(settings, platform.database)


async def handle(job: Job[SyncPayload], deps: Deps) -> Done:
    """Do a job of any kind."""
    match job.payload.root:
        case HousekeepingPayload():
            return Done(await keep_house(deps.database))

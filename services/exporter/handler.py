"""The exporter's job handler. Read this first.

A job `file` writes files and their manifest (files.py). `housekeeping` comes from the fleet's schedule, every
night.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.common.contracts.exports import ExporterPayload, FilePayload, HousekeepingPayload
from libs.common.db import LONG_S
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform
from services.exporter.config import Settings
from services.exporter.deps import Deps
from services.exporter.files import write_files
from services.exporter.snapshots import Snapshots

REMEMBERED_DAYS = 400
"""How long `since` can name an export."""
_FORGET = "DELETE FROM export.files WHERE at < now() - $1 * interval '1 day' RETURNING 1"


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`."""
    places = asyncio.Semaphore(settings.export_concurrency)
    yield Deps(settings, platform.database, platform.blobs, Snapshots(), places)


async def handle(job: Job[ExporterPayload], deps: Deps) -> Done:
    """Do a job of any kind."""
    match job.payload.root:
        case FilePayload() as payload:
            return await write_files(job, payload, deps)
        case HousekeepingPayload():
            forgotten = await deps.database.fetch(_FORGET, REMEMBERED_DAYS, timeout_s=LONG_S)
            return Done({"forgotten": len(forgotten)})

"""The exporter's job handler. Read this first.

A job `file` writes one file and its manifest (files.py). `housekeeping` comes from the fleet's schedule, every
night.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from libs.common.blobs import Blobs
from libs.common.contracts.exports import ExporterPayload, FilePayload, HousekeepingPayload
from libs.common.db import LONG_S, Database
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform
from services.exporter.config import Settings
from services.exporter.files import write_file
from services.exporter.snapshots import Snapshots

REMEMBERED_DAYS = 400
"""How long `since` can name an export."""
_FORGET = "DELETE FROM export.files WHERE at < now() - $1 * interval '1 day' RETURNING 1"


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    blobs: Blobs
    snapshots: Snapshots


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`."""
    yield Deps(settings, platform.database, platform.blobs, Snapshots())


async def handle(job: Job[ExporterPayload], deps: Deps) -> Done:
    """Do a job of any kind."""
    match job.payload.root:
        case FilePayload() as payload:
            return await write_file(job, payload, deps.settings, deps.database, deps.blobs, deps.snapshots)
        case HousekeepingPayload():
            forgotten = await deps.database.fetch(_FORGET, REMEMBERED_DAYS, timeout_s=LONG_S)
            return Done({"forgotten": len(forgotten)})

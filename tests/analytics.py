"""The analytics worker on a ledger of a test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from libs.common import db, rpc
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.contracts.services import ANALYTICS
from libs.common.worker.service import Platform
from libs.common.worker.worker import Worker
from services.analytics.config import Settings
from services.analytics.handler import Deps, handle, resources
from services.analytics.rpc_handlers import HANDLERS


@asynccontextmanager
async def answering(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[Deps]:
    """Questions are answered while the block runs. `folder` is that of the blob store."""
    settings = Settings.model_validate(
        {
            "database_url": "x",
            "nats_url": "nats://x",
            "blob_url": "x",
            "analytics_secret": "not a secret, but long enough to be one",
        }
    )
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    async with (
        db.connect(database_settings, ANALYTICS.name, role=ANALYTICS.role) as database,
        resources(settings, Platform(database, blobs)) as deps,
        bus.serving(rpc.subject_pattern(ANALYTICS.name), rpc.serve(HANDLERS, deps)),
    ):
        yield deps


@asynccontextmanager
async def counting(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[None]:
    """A worker that also does jobs while the block runs. Somebody else hands them out."""
    stop = asyncio.Event()
    async with answering(database_settings, bus, folder) as deps:
        worker = Worker(
            ANALYTICS.name, AnalyticsPayload, handle, deps,
            database=deps.database, bus=bus, slots=2, grace_s=5,
        )  # fmt: skip
        async with worker.lease.kept():
            work = asyncio.create_task(worker.run(stop))
            try:
                yield
            finally:
                stop.set()
                await work

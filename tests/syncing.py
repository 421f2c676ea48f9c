"""The sync worker as tests use it: with real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings
from libs.common.contracts.sync import SyncPayload
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from libs.common.worker.service import Platform
from services.sync.config import Settings
from services.sync.handler import Deps, handle, resources

SECRET = "not a secret, but long enough to be one"  # noqa: S105


def settings_of(folder: Path, **given: Any) -> Settings:
    """The worker's settings; servers are reached otherwise."""
    required = {
        "database_url": "x",
        "nats_url": "nats://x",
        "blob_url": folder.as_uri(),
        "sync_secret": SECRET,
        "sandbox_confinement": "if-available",
    }
    return Settings.model_validate(required | given)


@dataclass(frozen=True, slots=True)
class Syncer:
    """A worker whose jobs run when a test says so."""

    database: Database
    gateway: Database
    bus: Bus
    deps: Deps

    async def submit(self, payload: BaseModel, *, tenant: str = "acme", max_attempts: int = 5) -> NewJob:
        """Accept a job, as the gateway does."""
        kind = SyncPayload.model_validate(payload.model_dump()).root.kind
        text = payload.model_dump_json(by_alias=True).encode()
        job = NewJob(tenant, "key", "sync", kind, text, max_attempts=max_attempts)
        await accept(self.gateway, [job], ticketed=[False])
        return job

    async def work(self) -> None:
        """Run all jobs that wait."""
        await drain(self.database, self.bus, "sync", SyncPayload, handle, self.deps)

    async def facts(self, job: NewJob) -> dict[str, Any]:
        """What the ledger says of a job."""
        found = await jobs.find(self.gateway, job.tenant, job.id)
        assert found is not None
        return dict(found)

    async def run(self, payload: BaseModel, **how: Any) -> dict[str, Any]:
        """Run a job, and return its result."""
        job = await self.submit(payload, **how)
        await self.work()
        facts = await self.facts(job)
        assert facts["state"] == "succeeded", facts["errors"]
        result: dict[str, Any] = facts["result"]
        return result


@asynccontextmanager
async def syncing(
    database: Database, gateway: Database, bus: Bus, folder: Path, **given: Any
) -> AsyncIterator[Syncer]:
    """A worker with these settings."""
    settings = settings_of(folder, **given)
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    async with resources(settings, Platform(database, blobs)) as deps:
        yield Syncer(database, gateway, bus, deps)

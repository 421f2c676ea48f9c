"""The exporter as tests use it: with real servers, and its files as readers see them."""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from libs.common import db
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.exports import ExporterPayload, ExportRequest, FilePayload
from libs.common.contracts.mail import MailPayload
from libs.common.contracts.services import EXPORTER
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from libs.common.worker.service import Platform
from services.exporter.config import Settings
from services.exporter.deps import Deps
from services.exporter.handler import handle, resources
from tests.working import working

LINK_SECRET = "not a secret, but long enough to be one"  # noqa: S105
RECIPIENT = """
INSERT INTO mail.recipients (letter, number, tenant, address, name, domain, state, reply, code)
SELECT $1::uuid, n, $2, a.address, a.name, 'example.com', 'sent', a.reply, 250
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS a (address, name, reply, n)
"""
LETTER = "INSERT INTO mail.letters (id, tenant, content) VALUES ($1, $2, '{}')"
SUPPRESSIONS = """
INSERT INTO mail.suppressions (tenant, address, reason, created_at)
SELECT $1, 'a' || n || '@example.com', 'manual', '2026-01-01Z'::timestamptz + n * interval '1 minute'
FROM generate_series(1, $2::int) n
"""


def settings_of(blob_url: str = "file:///blobs", **given: Any) -> Settings:
    """The worker's settings; servers are reached otherwise."""
    required = {"database_url": "x", "nats_url": "nats://x", "blob_url": blob_url}
    return Settings.model_validate(required | {"link_secret": LINK_SECRET} | given)


@dataclass(frozen=True, slots=True)
class File:
    """A file that an export has made, and what manifest and result say of it."""

    name: str
    content: bytes
    manifest: dict[str, Any]
    result: dict[str, Any]


@dataclass(slots=True)
class Exporter:
    """A worker whose jobs run when a test says so."""

    database: Database
    gateway: Database
    bus: Bus
    deps: Deps

    async def submit(
        self,
        tenant: str = "acme",
        *,
        also: Sequence[dict[str, Any]] = (),
        letter: MailPayload | None = None,
        max_attempts: int = 5,
        **request: Any,
    ) -> NewJob:
        """Accept a job, as the gateway does."""
        wanted = [ExportRequest.model_validate(one) for one in (request, *also)]
        payload = FilePayload(request=wanted[0], also=tuple(wanted[1:]), letter=letter)
        text = payload.model_dump_json(by_alias=True).encode()
        job = NewJob(tenant, "key", EXPORTER.name, "file", text, max_attempts=max_attempts)
        await accept(self.gateway, [job], ticketed=[False])
        return job

    def pace(self, rows_per_s: int, **more: Any) -> None:
        """Read so many rows a second from now on; 0: as many as there can be. And change other settings."""
        settings = self.deps.settings.model_copy(update={"export_rows_per_s": rows_per_s, **more})
        self.deps = replace(self.deps, settings=settings)

    async def work(self) -> None:
        """Run all jobs that wait."""
        await drain(self.database, self.bus, EXPORTER.name, ExporterPayload, handle, self.deps)

    async def facts(self, job: NewJob) -> dict[str, Any]:
        """What the ledger says of a job."""
        found = await jobs.find(self.gateway, job.tenant, job.id)
        assert found is not None
        return dict(found)

    async def export(self, tenant: str = "acme", **request: Any) -> File:
        """Run an export, and read what it has made. The manifest is true."""
        job = await self.submit(tenant, **request)
        await self.work()
        return await self.file(job)

    async def file(self, job: NewJob) -> File:
        """The one file that a job has made."""
        (made,) = await self.files(job)
        assert made.manifest["bytes"] == made.result["bytes"]
        assert made.manifest["rows"] == made.result["rows"]
        return made

    async def files(self, job: NewJob) -> list[File]:
        """The files that a job has made. The manifest is true of each."""
        facts = await self.facts(job)
        assert facts["state"] == "succeeded", facts["errors"]
        *artifacts, last = facts["artifacts"]
        manifest = json.loads(await self.read(last["key"]))
        found = []
        for artifact, told in zip(artifacts, manifest["files"], strict=True):
            content = await self.read(artifact["key"])
            assert told["sha256"] == hashlib.sha256(content).hexdigest() == artifact["sha256"]
            assert told["bytes"] == len(content)
            assert told["file"] == artifact["name"]
            of_all = {name: manifest[name] for name in ("as_of", "snapshot")}
            found.append(File(artifact["name"], content, told | of_all, facts["result"]))
        return found

    async def read(self, key: str) -> bytes:
        """A blob."""
        return b"".join([chunk async for chunk in self.deps.blobs.read(key)])


@asynccontextmanager
async def exporting(
    database: Database, gateway: Database, bus: Bus, store: Path | str, **given: Any
) -> AsyncIterator[Exporter]:
    """A worker with these settings, whose blob store is a folder, or has this address."""
    address = store if isinstance(store, str) else store.as_uri()
    settings = settings_of(address, **given)
    blobs = Blobs(BlobSettings.model_validate({"blob_url": address}))
    async with resources(settings, Platform(database, blobs)) as deps:
        yield Exporter(database, gateway, bus, deps)


@asynccontextmanager
async def at_work(
    database_settings: DatabaseSettings, bus: Bus, folder: Path, **given: Any
) -> AsyncIterator[None]:
    """A worker that does jobs while the block runs. Somebody else hands them out."""
    async with (
        db.connect(database_settings, EXPORTER.name, role=EXPORTER.role) as database,
        exporting(database, database, bus, folder, **given) as made,
        working(EXPORTER, ExporterPayload, handle, made.deps, database=database, bus=bus, slots=2),
    ):
        yield


async def write_recipients(
    database: Database, tenant: str, texts: Sequence[str | None], letter: Any = None
) -> None:
    """A recipient for each of these texts, which is its `reply`."""
    letter = letter or jobs.new_id()
    await database.fetch(LETTER, letter, tenant)
    numbers = range(1, len(texts) + 1)
    addresses, names = [f"a{n}@example.com" for n in numbers], [f"n{n}" for n in numbers]
    await database.fetch(RECIPIENT, letter, tenant, addresses, names, list(texts))

"""The sync worker as tests use it: with real servers. Pages come from files, where nothing has to be fetched."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from libs.common import db, rpc
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import RunPayload, SourceSpec, SyncPayload
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, new_id
from services.sync import changes
from services.sync.config import Settings
from services.sync.cursors import Cursors
from services.sync.handler import Deps, handle
from services.sync.page import Ask, NotModified, Page, Validators
from services.sync.reading.page_reading import map_anew
from services.sync.rpc_handlers import HANDLERS
from services.sync.sealing import HeaderSealer
from tests.working import working

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


@dataclass
class Shelf:
    """Pages of sources as files, instead of servers: what a sandbox would have written of them.

    `listed`: for each address its pages, each a list of records as a source has them.
    """

    folder: Path
    listed: dict[str, list[list[Any]]] = field(default_factory=dict)
    asked: list[Ask] = field(default_factory=list)
    before: Callable[[Ask], Awaitable[None]] | None = None
    """Is awaited before each page, and may raise what fetching raises."""

    async def fetch(self, ask: Ask) -> Page | NotModified:
        """The page at `ask.position`."""
        self.asked.append(ask)
        if self.before is not None:
            await self.before(ask)
        number = ask.position.get("at", 0)
        pages = self.listed[ask.spec.url]
        lines = await self._mapped(ask.spec, pages[number])
        following = {"at": number + 1} if number + 1 < len(pages) else None
        return Page(ask.spec.url, lines, following, Validators(), None, None, lines.stat().st_size)

    async def map_anew(self, spec: SourceSpec, kept: Path) -> Path:
        """As the sandbox does, in this process."""
        into = self._file()
        map_anew(spec.model_dump_json(by_alias=True), kept, into)
        return into

    async def _mapped(self, spec: SourceSpec, records: Sequence[Any]) -> Path:
        kept = self._file()
        kept.write_bytes(b"".join(to_json(record) + b"\n" for record in records))
        return await self.map_anew(spec, kept)

    def _file(self) -> Path:
        return Path(tempfile.mkstemp(dir=self.folder)[1])


MAPPING = {
    "key": "id",
    "title": "title",
    "summary": "text",
    "closes_at": "closes",
    "amount_max": "most",
    "agency": "agency",
}


def spec_of(url: str = "https://example.org/grants.json", **given: Any) -> dict[str, Any]:
    """A source of JSON that has everything in one list."""
    return {"url": url, "format": "json", "language": "english", "complete": True, "mapping": MAPPING} | given


def listing(*numbers: int, **given: Any) -> list[dict[str, Any]]:
    """Records as a source has them."""
    return [
        {"id": f"g{n}", "title": f"Grant {n}", "text": "Rural water", "closes": "2030-01-02"} | given
        for n in numbers
    ]


@dataclass(frozen=True, slots=True)
class Syncer:
    """A worker whose jobs run when a test says so."""

    database: Database
    gateway: Database
    bus: Bus
    deps: Deps
    shelf: Shelf

    async def submit(
        self, payload: BaseModel, *, tenant: str = "acme", max_attempts: int = 5, job: UUID | None = None
    ) -> NewJob:
        """Accept a job, as the gateway does."""
        kind = SyncPayload.model_validate(payload.model_dump()).root.kind
        text = payload.model_dump_json(by_alias=True).encode()
        made = NewJob(tenant, "key", "sync", kind, text, id=job or new_id(), max_attempts=max_attempts)
        await accept(self.gateway, [made], ticketed=[False])
        return made

    async def work(self, **changed: Any) -> None:
        """Run all jobs that wait, with dependencies `changed`."""
        await drain(self.database, self.bus, "sync", SyncPayload, handle, replace(self.deps, **changed))

    async def facts(self, job: NewJob) -> dict[str, Any]:
        """What the ledger says of a job."""
        found = await jobs.find(self.gateway, job.tenant, job.id)
        assert found is not None
        return dict(found)

    async def run(self, payload: BaseModel, *, fails: bool = False, **how: Any) -> dict[str, Any]:
        """Run a job, and return its result, or its last error."""
        job = await self.submit(payload, **how)
        await self.work()
        facts = await self.facts(job)
        assert facts["state"] == ("failed" if fails else "succeeded"), facts["errors"]
        result: dict[str, Any] = facts["error" if fails else "result"]
        return result

    async def ask(self, call: str, tenant: str = "acme", /, **request: Any) -> dict[str, Any]:
        """What the gateway is told."""
        return await HANDLERS[call](tenant, request, self.deps)

    async def source(self, name: str = "grants", tenant: str = "acme", /, **given: Any) -> UUID:
        """Put a source, and return its id."""
        headers = given.pop("headers", None)
        put = await self.ask("put_source", tenant, name=name, spec=spec_of(**given), headers=headers)
        assert "mistakes" not in put, put
        return UUID(put["id"])

    async def sync(
        self, source: UUID, *pages: list[Any], url: str = "https://example.org/grants.json", **how: Any
    ) -> dict[str, Any]:
        """Let a source list these pages, and run it, however early that is. Only what is not 0 is returned."""
        self.shelf.listed[url] = list(pages)
        await self.database.fetch("UPDATE sync.sources SET not_before = NULL")
        payload = {name: how.pop(name) for name in ("full", "accept_shrink") if name in how}
        result = await self.run(RunPayload(source=source, **payload), **how)
        return {name: value for name, value in result.items() if value}

    async def rows(self, tenant: str = "acme") -> dict[str, dict[str, Any]]:
        """All opportunities of a tenant by key."""
        rows = await self.database.fetch(
            "SELECT to_jsonb(o) - 'search' FROM sync.opportunities o WHERE tenant = $1 ORDER BY key", tenant
        )
        return {row[0]["key"]: row[0] for row in rows}

    async def history(self, tenant: str = "acme") -> list[tuple[str, str, dict[str, Any]]]:
        """All changes of a tenant in order: key, what, fields."""
        rows = await self.database.fetch(
            "SELECT o.key, c.what, c.fields FROM sync.changes c JOIN sync.opportunities o"
            " ON o.tenant = c.tenant AND o.id = c.opportunity WHERE c.tenant = $1 ORDER BY c.changed_by, c.number",
            tenant,
        )
        return [(row[0], row[1], row[2]) for row in rows]


@asynccontextmanager
async def syncing(
    database: Database, gateway: Database, bus: Bus, folder: Path, **given: Any
) -> AsyncIterator[Syncer]:
    """A worker with these settings."""
    settings = settings_of(folder, **given)
    await changes.adopt(database)
    shelf = Shelf(folder)
    folder.mkdir(parents=True, exist_ok=True)
    deps = Deps(settings, database, Cursors(SECRET), HeaderSealer(SECRET), shelf)
    yield Syncer(database, gateway, bus, deps, shelf)


@asynccontextmanager
async def answering(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[Syncer]:
    """Questions to sync are answered while the block runs."""
    async with (
        db.connect(database_settings, SYNC.name, role=SYNC.role) as database,
        syncing(database, database, bus, folder) as made,
        bus.serving(rpc.subject_pattern(SYNC.name), rpc.serve(HANDLERS, made.deps)),
    ):
        yield made


@asynccontextmanager
async def at_work(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[Syncer]:
    """A worker that answers and does jobs while the block runs. Somebody else hands them out."""
    async with (
        answering(database_settings, bus, folder) as made,
        working(SYNC, SyncPayload, handle, made.deps, database=made.database, bus=bus, slots=1),
    ):
        yield made

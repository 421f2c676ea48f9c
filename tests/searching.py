"""Opportunities to be searched, written without a source to fetch them from."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from libs.common import db, rpc
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.ids import public_id
from libs.common.contracts.opportunities import Search
from libs.common.contracts.services import SYNC
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync import search_handlers, searching
from services.sync.cursors import Cursors
from services.sync.followers import tell_followers
from services.sync.handler import Deps
from services.sync.opportunities import KIND
from services.sync.writing import Change
from tests.syncing import SECRET, syncing

NOW = datetime.now(UTC).replace(microsecond=0)
CURSORS = Cursors(SECRET)
_SOURCE = """
INSERT INTO sync.sources (tenant, id, name, spec) VALUES ($1, $2, $3, $4::text::jsonb)
ON CONFLICT (tenant, name) DO UPDATE SET name = excluded.name RETURNING id
"""
_INSERT = """
INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, url, agency, opens_at, closes_at,
  closes_on, status_said, amount_min, amount_max, currency, extra, raw, language, digest, first_run, last_run,
  gone_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::date, $12, $13::text::numeric, $14::text::numeric, $15,
  '{}', $16::text::jsonb, $17::text::regconfig, '', $18, $18, $19)
"""
_CHANGE = """
INSERT INTO sync.changes (tenant, number, opportunity, run, what, fields)
VALUES ($1, $2, $3, gen_random_uuid(), $4, $5::text::jsonb)
"""


def in_days(days: float) -> datetime:
    """A moment so many days from now."""
    return NOW + timedelta(days=days)


@dataclass
class Library:
    """A tenant's opportunities, and what is asked about them."""

    database: Database
    tenant: str = "acme"
    ids: dict[str, str] = field(default_factory=dict)
    """Public ids by key."""

    def of(self, tenant: str) -> "Library":
        """Another tenant's."""
        return Library(self.database, tenant)

    async def source(self, name: str = "harbour", language: str = "english") -> UUID:
        """A source, made if it is not there."""
        spec = to_json({"language": language}).decode()
        ((id_,),) = await self.database.fetch(_SOURCE, self.tenant, uuid.uuid4(), name, spec)
        found: UUID = id_
        return found

    async def add(
        self, key: str, title: str = "Dredging", *, connection: Connection | None = None, **given: Any
    ) -> str:
        """Write an opportunity, and return its public id."""
        language = given.get("language", "english")
        source = await self.source(given.get("source", "harbour"), language)
        id_, run = new_id(), uuid.uuid4()
        amounts = [None if (n := given.get(name)) is None else str(n) for name in ("amount_min", "amount_max")]
        values = [
            self.tenant, id_, source, key, title, given.get("summary", ""), given.get("url"), given.get("agency"),
            given.get("opens_at"), given.get("closes_at"), given.get("closes_on"),
            given.get("status_said"), *amounts, given.get("currency"), to_json({"key": key}).decode(), language,
            run, given.get("gone_at"),
        ]  # fmt: skip
        if connection is None:
            await self.database.fetch(_INSERT, *values)
        else:
            await fetch_within(connection, _INSERT, *values)
        self.ids[key] = public_id(id_, KIND)
        return self.ids[key]

    async def change(self, connection: Connection, key: str, number: int, fields: dict[str, Any]) -> None:
        """Note a change of an opportunity."""
        id_ = UUID(self.ids[key].removeprefix(f"{KIND}_"))
        await fetch_within(connection, _CHANGE, self.tenant, number, id_, "updated", to_json(fields).decode())

    async def move(self, key: str, *, whats: str = "updated", **fields: Any) -> None:
        """Change fields of an opportunity, and tell its followers, as a run does."""
        async with self.database.begin(tenant=self.tenant) as connection:
            await self.move_within(connection, key, whats=whats, **fields)

    async def move_within(
        self, connection: Connection, key: str, *, whats: str = "updated", **fields: Any
    ) -> None:
        """As `move`, in a transaction that works as the tenant."""
        id_ = UUID(self.ids[key].removeprefix(f"{KIND}_"))
        for name, value in fields.items():
            await fetch_within(connection, f"UPDATE sync.opportunities SET {name} = $2 WHERE id = $1", id_, value)  # noqa: S608
        await fetch_within(connection, "UPDATE sync.opportunities SET revision = revision + 1 WHERE id = $1", id_)
        change = Change(id_, whats, {name: (None, value) for name, value in fields.items()})
        await tell_followers(connection, self.tenant, [change])

    async def search(self, **asked: Any) -> dict[str, Any]:
        """A page."""
        return await searching.search(self.database, self.tenant, Search.model_validate(asked), CURSORS)

    async def keys(self, **asked: Any) -> list[str]:
        """The keys of what a search finds, all pages, in order."""
        by_id = {id_: key for key, id_ in self.ids.items()}
        found, cursor = list[str](), None
        while True:
            page = await self.search(**asked, cursor=cursor)
            found += [by_id.get(one["id"], one["id"]) for one in page["opportunities"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


@asynccontextmanager
async def answering(database_settings: DatabaseSettings, bus: Bus, folder: Path) -> AsyncIterator[Deps]:
    """Questions about opportunities are answered while the block runs."""
    async with (
        db.connect(database_settings, SYNC.name, role=SYNC.role) as database,
        syncing(database, database, bus, folder) as made,
        bus.serving(rpc.subject_pattern(SYNC.name), rpc.serve(search_handlers.HANDLERS, made.deps)),
    ):
        yield made.deps

"""Sources as tenants put them: where opportunities come from, and how they are read."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from pydantic_core import to_json

from libs.common.contracts.sync import SOURCES_AT_MOST, SourceAnswer, SourceChange, SourceSpec
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync.refusals import NotFound, SourceBusy, TooManySources
from services.sync.removing import remove_some
from services.sync.sealing import HeaderSealer
from services.sync.spec_checks import Mistake, mistakes

_SHOWN = (
    """id, name, spec, header_names, paused, failures, fetched_at, succeeded_at, not_before, moved_to, remap"""
)
_LANGUAGES = "SELECT cfgname FROM pg_catalog.pg_ts_config"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('sync.sources:' || $1, 0))"
_OLD = "SELECT id, spec, header_names FROM sync.sources WHERE tenant = $1 AND name = $2 FOR UPDATE"
_COUNT = "SELECT count(*) FROM sync.sources WHERE tenant = $1"
_INSERT = f"""
INSERT INTO sync.sources (tenant, id, name, spec, secrets, header_names)
VALUES ($1, $2, $3, $4::text::jsonb, $5, $6) RETURNING {_SHOWN}
"""  # noqa: S608 - made of constants
_REPLACE = f"""
UPDATE sync.sources SET spec = $3::text::jsonb, paused = NULL, failures = 0, moved_to = NULL, moves = 0, quiet = 0,
  secrets = CASE WHEN $4 THEN $5 ELSE secrets END, header_names = CASE WHEN $4 THEN $6 ELSE header_names END,
  validators = CASE WHEN $7 THEN '{{}}' ELSE validators END,
  not_before = CASE WHEN $7 THEN NULL ELSE not_before END,
  bookmark = CASE WHEN $7 THEN NULL ELSE bookmark END, remap = remap OR $8
WHERE tenant = $1 AND id = $2 RETURNING {_SHOWN}
"""  # noqa: S608 - made of constants
_GET = f"SELECT {_SHOWN} FROM sync.sources WHERE tenant = $1 AND name = $2"  # noqa: S608
_PAGE = f"""
SELECT {_SHOWN} FROM sync.sources WHERE tenant = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3
"""  # noqa: S608 - made of constants
_BUSY = """
SELECT s.id, EXISTS (SELECT FROM ledger.jobs j WHERE j.id = s.run AND j.finished_at IS NULL)
FROM sync.sources s WHERE tenant = $1 AND name = $2 FOR UPDATE OF s
"""
_DELETE = "DELETE FROM sync.sources WHERE tenant = $1 AND id = $2"
_DELETE_WITH_IT = (
    "DELETE FROM sync.seen WHERE tenant = $1 AND source = $2",
    "DELETE FROM sync.rejected WHERE tenant = $1 AND source = $2",
)
_DELETES_FOR_S = 4.0
"""How long a caller waits at most for the opportunities to go; housekeeping removes the rest."""
_READ_ANEW = ("mapping", "format", "time_zone", "language")
"""Fields of a spec whose change means that what is kept is mapped anew."""


@dataclass(frozen=True, slots=True)
class Put:
    """A source that was put, or why it was not."""

    answer: SourceAnswer | None
    mistakes: list[Mistake]


async def put(database: Database, tenant: str, change: SourceChange, sealer: HeaderSealer) -> Put:
    """Create a source, or replace how it is read. Raises TooManySources, Unavailable."""
    languages = frozenset(row[0] for row in await database.fetch(_LANGUAGES))
    if found := mistakes(change.spec, languages):
        return Put(None, found)
    async with database.begin(tenant=tenant) as connection:
        await fetch_within(connection, _LOCK, tenant)
        old = await fetch_within(connection, _OLD, tenant, change.name)
        if old:
            return Put(await _replace(connection, tenant, change, sealer, old[0]), [])
        ((number,),) = await fetch_within(connection, _COUNT, tenant)
        if number >= SOURCES_AT_MOST:
            raise TooManySources
        id_, headers = new_id(), change.headers or {}
        (row,) = await fetch_within(
            connection, _INSERT, tenant, id_, change.name, _json(change.spec),
            sealer.seal(headers, tenant, id_), sorted(headers),
        )  # fmt: skip
        return Put(_answer(row), [])


async def _replace(
    connection: Connection,
    tenant: str,
    change: SourceChange,
    sealer: HeaderSealer,
    old: tuple[UUID, object, object],
) -> SourceAnswer:
    id_, before = old[0], SourceSpec.model_validate(old[1])
    after = change.spec
    remap = any(getattr(before, name) != getattr(after, name) for name in _READ_ANEW)
    asks_otherwise = before != after or change.headers is not None
    headers = change.headers or {}
    (row,) = await fetch_within(
        connection, _REPLACE, tenant, id_, _json(after), change.headers is not None,
        sealer.seal(headers, tenant, id_), sorted(headers), asks_otherwise, remap,
    )  # fmt: skip
    return _answer(row)


async def get(database: Database, tenant: str, name: str) -> SourceAnswer:
    """A source. Raises NotFound, Unavailable."""
    rows = await database.fetch(_GET, tenant, name, tenant=tenant)
    if not rows:
        raise NotFound
    return _answer(rows[0])


async def page(database: Database, tenant: str, after: str | None, limit: int) -> list[SourceAnswer]:
    """Sources by name, behind `after`. Raises Unavailable."""
    return [_answer(row) for row in await database.fetch(_PAGE, tenant, after, limit, tenant=tenant)]


async def delete(database: Database, tenant: str, name: str) -> None:
    """Delete a source and what it lists. Raises NotFound, SourceBusy, Unavailable."""
    async with database.begin(tenant=tenant) as connection:
        rows = await fetch_within(connection, _BUSY, tenant, name)
        if not rows:
            raise NotFound
        ((id_, busy),) = rows
        if busy:
            raise SourceBusy
        await fetch_within(connection, _DELETE, tenant, id_)
        for statement in _DELETE_WITH_IT:
            await fetch_within(connection, statement, tenant, id_)
    loop = asyncio.get_running_loop()
    until = loop.time() + _DELETES_FOR_S
    while loop.time() < until and await remove_some(database, tenant, id_):
        pass


def _json(spec: SourceSpec) -> str:
    return to_json(spec.model_dump(mode="json", by_alias=True)).decode()


def _answer(row: tuple[object, ...]) -> SourceAnswer:
    id_, name, spec, header_names, *state = row
    names = ("paused", "failures", "fetched_at", "succeeded_at", "not_before", "moved_to", "remap")
    return SourceAnswer.model_validate(
        {"id": id_, "name": name, "spec": spec, "header_names": header_names}
        | dict(zip(names, state, strict=True))
    )

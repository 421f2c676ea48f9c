"""Saved searches as tenants put them. When they run is said by schedules of the ledger, which have their ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from libs.common.contracts.mail import AddressedRecipient, Letter
from libs.common.contracts.searches import (
    SEARCHES_AT_MOST,
    ListedSearch,
    SavedFilter,
    SearchAnswer,
    SearchChange,
)
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import new_id
from libs.common.unnest import Columns
from services.sync.refusals import NotFound, TooManySearches

_LISTED = "id, name, filter, created_at, told_at"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('sync.searches:' || $1, 0))"
_COUNT = "SELECT count(*) FROM sync.searches WHERE tenant = $1 AND name <> $2"
# What is there when a search is saved is not new to it.
_PUT = f"""
INSERT INTO sync.searches (tenant, name, id, filter, letter, told_by, told_number)
VALUES ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, pg_snapshot_xmin(pg_current_snapshot()), -1)
ON CONFLICT (tenant, name) DO UPDATE SET filter = excluded.filter, letter = excluded.letter
RETURNING {_LISTED}, letter
"""  # noqa: S608 - made of constants
_RECIPIENTS: Columns[AddressedRecipient] = Columns(
    address=("text", lambda one: one.address),
    name=("text", lambda one: one.name),
    variables=("text", lambda one: to_json(one.variables).decode()),
    time_zone=("text", lambda one: one.time_zone),
)
_REMOVE_RECIPIENTS = "DELETE FROM sync.search_recipients WHERE tenant = $1 AND search = $2"
_ADD_RECIPIENTS = f"""
INSERT INTO sync.search_recipients (tenant, search, address, name, variables, time_zone)
SELECT DISTINCT ON (lower(r.address)) $1, $2, r.address, r.name, r.variables::json, r.time_zone
FROM {_RECIPIENTS.unnested("r", first=3)}
"""  # noqa: S608 - made of constants
_RECIPIENTS_OF = """
SELECT address, name, variables::text, time_zone FROM sync.search_recipients
WHERE tenant = $1 AND search = $2 ORDER BY lower(address)
"""
_GET = f"SELECT {_LISTED}, letter FROM sync.searches WHERE tenant = $1 AND name = $2"  # noqa: S608
_PAGE = f"""
SELECT {_LISTED} FROM sync.searches WHERE tenant = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3
"""  # noqa: S608 - made of constants
_REMOVE = "DELETE FROM sync.searches WHERE tenant = $1 AND name = $2 RETURNING 1"
_LOAD = """
SELECT name, filter, told_by::text, told_number FROM sync.searches WHERE tenant = $1 AND id = $2
"""
_MOVE = """
UPDATE sync.searches SET told_by = $5::text::xid8, told_number = $6, told_at = now()
WHERE tenant = $1 AND id = $2 AND told_by = $3::text::xid8 AND told_number = $4 AND filter = $7::text::jsonb
RETURNING name, letter
"""

Position = tuple[str, int]
"""A place in the feed of changes: a transaction, and a number in it."""


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A saved search that is to run, and how far it has come."""

    id: UUID
    name: str
    filter: SavedFilter
    told: Position


@dataclass(frozen=True, slots=True)
class Addressed:
    """A letter, and to whom it goes."""

    letter: Letter
    recipients: tuple[AddressedRecipient, ...]


async def put(database: Database, tenant: str, change: SearchChange) -> SearchAnswer:
    """Create a saved search, or replace it; what it has told stays told. Raises TooManySearches, Unavailable."""
    saved, letter = _text(change.filter), change.letter.model_dump_json(by_alias=True)
    async with database.begin(tenant=tenant) as connection:
        await fetch_within(connection, _LOCK, tenant)
        ((others,),) = await fetch_within(connection, _COUNT, tenant, change.name)
        if others >= SEARCHES_AT_MOST:
            raise TooManySearches
        (row,) = await fetch_within(connection, _PUT, tenant, change.name, new_id(), saved, letter)
        await fetch_within(connection, _REMOVE_RECIPIENTS, tenant, change.name)
        arrays = _RECIPIENTS.arrays(change.recipients)
        await fetch_within(connection, _ADD_RECIPIENTS, tenant, change.name, *arrays)
        return _answer(row, await _recipients(connection, tenant, change.name))


async def get(database: Database, tenant: str, name: str) -> SearchAnswer:
    """A saved search. Raises NotFound, Unavailable."""
    async with database.begin(tenant=tenant) as connection:
        rows = await fetch_within(connection, _GET, tenant, name)
        if not rows:
            raise NotFound("There is no such search.")
        return _answer(rows[0], await _recipients(connection, tenant, name))


async def page(database: Database, tenant: str, after: str | None, limit: int) -> list[ListedSearch]:
    """Saved searches by name, behind `after`. Raises Unavailable."""
    return [_listed(row) for row in await database.fetch(_PAGE, tenant, after, limit, tenant=tenant)]


async def remove(database: Database, tenant: str, name: str) -> None:
    """Remove a saved search with its recipients. Raises NotFound, Unavailable."""
    if not await database.fetch(_REMOVE, tenant, name, tenant=tenant):
        raise NotFound("There is no such search.")


async def load(database: Database, tenant: str, id_: UUID) -> SavedSearch | None:
    """A saved search that is to run; None if it has been removed. Raises Unavailable."""
    rows = await database.fetch(_LOAD, tenant, id_, tenant=tenant)
    if not rows:
        return None
    name, saved, told_by, told_number = rows[0]
    return SavedSearch(id_, name, SavedFilter.model_validate(saved), (told_by, told_number))


async def move(connection: Connection, tenant: str, search: SavedSearch, told: Position) -> Addressed | None:
    """Note that everything up to `told` is told, in a transaction that works as `tenant`.

    Returns the letter as it is now. None: it has been removed, changed or told meanwhile.
    """
    where = (tenant, search.id, *search.told, *told)
    rows = await fetch_within(connection, _MOVE, *where, _text(search.filter))
    if not rows:
        return None
    name, letter = rows[0]
    return Addressed(Letter.model_validate(letter), await _recipients(connection, tenant, name))


async def _recipients(connection: Connection, tenant: str, name: str) -> tuple[AddressedRecipient, ...]:
    rows = await fetch_within(connection, _RECIPIENTS_OF, tenant, name)
    return tuple(
        AddressedRecipient.model_construct(
            address=address, name=shown, variables=from_json(variables), time_zone=zone
        )
        for address, shown, variables, zone in rows
    )


def _text(saved: SavedFilter) -> str:
    return saved.model_dump_json()


def _listed(row: Sequence[Any]) -> ListedSearch:
    return ListedSearch.model_validate(dict(zip(_LISTED.split(", "), row, strict=True)))


def _answer(row: Sequence[Any], recipients: Sequence[AddressedRecipient]) -> SearchAnswer:
    *listed, letter = row
    shown = Letter.model_validate(letter).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    to = [
        {
            "to": f"{one.name} <{one.address}>" if one.name else one.address,
            "variables": one.variables,
            "time_zone": one.time_zone,
        }
        for one in recipients
    ]
    return SearchAnswer(**dict(_listed(listed)), letter=shown | {"recipients": to})

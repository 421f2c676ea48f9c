"""Reading opportunities, as the tenant: by id only, so that it does not matter how they were found.

A hundred cost as many statements as one: rows, the names of their sources and their history are each asked for
with `= ANY`.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from libs.common.contracts import opportunities as contract
from libs.common.contracts.ids import parse_id, public_id
from libs.common.contracts.opportunities import ALL_FIELDS, SHORT_SUMMARY, SHOWN, ListField
from libs.common.contracts.sync import SUMMARY_AT_MOST
from libs.common.db import Connection, Database, fetch_within
from services.sync.refusals import NotFound

KIND = "opp"
"""Of public ids."""
CLOSES = "coalesce(o.closes_at, 'infinity')"
"""As in the index."""
STATUS = contract.STATUS.format(o="o.")
_COLUMNS: dict[ListField, str] = {name: f"o.{name}" for name in ALL_FIELDS} | {
    "status": STATUS,
    "summary": "left(o.summary, $2::int)",
    "closes_on": "o.closes_on::text",
    "amount": "jsonb_build_object('min', o.amount_min, 'max', o.amount_max, 'currency', o.currency)",
}
_SOURCES = "SELECT id, name FROM sync.sources WHERE id = ANY($1::uuid[])"
_RAW = "SELECT raw FROM sync.opportunities WHERE id = $1"
_CHANGE = ("position", "what", "fields", "run", "at")
_HISTORY = """
SELECT concat(changed_by, '-', number), what, fields, run, at FROM sync.changes
WHERE opportunity = ANY($1::uuid[]) AND (changed_by, number) > ($2::text::xid8, $3::int)
ORDER BY changed_by, number LIMIT $4
"""

Document = dict[str, Any]


async def read(connection: Connection, ids: Sequence[UUID], fields: Sequence[ListField]) -> list[Document]:
    """Those of `ids` that the tenant of this transaction has, in that order. `fields` () are the usual ones.

    `source` is an id still: `source_names` has the name.
    """
    shown = fields or SHOWN
    columns = ", ".join(_COLUMNS[name] for name in shown)
    statement = f"SELECT o.id, {columns} FROM sync.opportunities o WHERE o.id = ANY($1::uuid[])"  # noqa: S608 - constants
    characters = [SUMMARY_AT_MOST if fields else SHORT_SUMMARY] if "summary" in shown else []
    rows = await fetch_within(connection, statement, ids, *characters)
    found = {row[0]: dict(zip(shown, row[1:], strict=True)) for row in rows}
    return [{"id": public_id(id_, KIND), **found[id_]} for id_ in ids if id_ in found]


async def source_names(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names of those sources that the tenant of this transaction has."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {row[0]: row[1] for row in await fetch_within(connection, _SOURCES, wanted)}


async def get(database: Database, tenant: str, id_: UUID) -> Document:
    """An opportunity with all its fields, and the record as the source gave it. Raises NotFound, Unavailable."""
    async with database.begin(tenant=tenant) as connection:
        found = await read(connection, [id_], ALL_FIELDS)
        if not found:
            raise NotFound("There is no such opportunity.")
        ((raw,),) = await fetch_within(connection, _RAW, id_)
        names = await source_names(connection, [found[0]["source"]])
    return with_sources(found, names)[0] | {"raw": raw}


async def history(database: Database, tenant: str, id_: UUID, after: str | None, limit: int) -> list[Document]:
    """How an opportunity has changed, oldest first, from behind `after`. Raises NotFound, Unavailable."""
    changed_by, number = ("0", -1) if after is None else split_position(after)
    async with database.begin(tenant=tenant) as connection:
        if not await read(connection, [id_], ("revision",)):
            raise NotFound("There is no such opportunity.")
        rows = await fetch_within(connection, _HISTORY, [id_], changed_by, number, limit)
    return [dict(zip(_CHANGE, row, strict=True)) for row in rows]


def split_position(position: str) -> tuple[str, int]:
    """The transaction, and the number in it, of a ChangePosition."""
    changed_by, _, number = position.partition("-")
    return changed_by, int(number)


def with_sources(found: list[Document], names: dict[UUID, str]) -> list[Document]:
    """`found` with the names of sources in place of their ids; None if a source has just been removed."""
    for document in found:
        if "source" in document:
            document["source"] = names.get(document["source"])
    return found


def parsed_id(text: str) -> UUID:
    """The id of an opportunity. Raises NotFound."""
    id_ = parse_id(text, KIND)
    if id_ is None:
        raise NotFound("There is no such opportunity.")
    return id_

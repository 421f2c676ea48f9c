"""Records that did not pass, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic_core import to_json

from libs.common.contracts.sync import RejectedRecord
from libs.common.db import Connection, Database, fetch_within
from libs.common.unnest import Columns
from services.sync.page import Refused

_COLUMNS: Columns[Refused] = Columns(
    key=("text", lambda one: one.key),
    reason=("text", lambda one: one.reason),
    field=("text", lambda one: one.field),
    raw=("text", lambda one: to_json(one.raw).decode()),
)
_KEEP = f"""
INSERT INTO sync.rejected (tenant, source, run, key, reason, field, raw)
SELECT $1, $2, $3, key, reason, field, raw::jsonb FROM {_COLUMNS.unnested("r", first=4)}
"""  # noqa: S608 - made of constants
_FACTS = "number, key, reason, field, raw, at"
_PAGE = f"""
SELECT {_FACTS} FROM sync.rejected WHERE tenant = $1 AND number > $3 AND source = (
  SELECT id FROM sync.sources WHERE tenant = $1 AND name = $2)
ORDER BY number LIMIT $4
"""  # noqa: S608 - made of constants
_BEHIND = """
SELECT number, raw FROM sync.rejected WHERE tenant = $1 AND source = $2 AND number > $3 AND number <= $4
ORDER BY number LIMIT $5
"""
_LAST = "SELECT coalesce(max(number), 0) FROM sync.rejected WHERE tenant = $1 AND source = $2"
_REMOVE = "DELETE FROM sync.rejected WHERE tenant = $1 AND source = $2 AND number = ANY($3)"


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that is kept as it was received."""

    number: int
    raw: object


async def keep(connection: Connection, tenant: str, source: UUID, run: UUID, refused: Sequence[Refused]) -> None:
    """Write records that did not pass."""
    if refused:
        await fetch_within(connection, _KEEP, tenant, source, run, *_COLUMNS.arrays(refused))


async def page(database: Database, tenant: str, source: str, after: int, limit: int) -> list[RejectedRecord]:
    """Rejected records of a source by its name, oldest first. Raises Unavailable."""
    rows = await database.fetch(_PAGE, tenant, source, after, limit, tenant=tenant)
    names = _FACTS.split(", ")
    return [RejectedRecord.model_validate(dict(zip(names, row, strict=True))) for row in rows]


async def last_number(database: Database, tenant: str, source: UUID) -> int:
    """The newest one. Raises Unavailable."""
    ((number,),) = await database.fetch(_LAST, tenant, source, tenant=tenant)
    return int(number)


async def behind(database: Database, tenant: str, source: UUID, after: int, last: int, limit: int) -> list[Kept]:
    """What is kept behind the number `after`, up to `last`. Raises Unavailable."""
    rows = await database.fetch(_BEHIND, tenant, source, after, last, limit, tenant=tenant)
    return [Kept(*row) for row in rows]


async def remove(connection: Connection, tenant: str, source: UUID, numbers: Sequence[int]) -> None:
    """Forget records, because they have been mapped anew."""
    await fetch_within(connection, _REMOVE, tenant, source, list(numbers))

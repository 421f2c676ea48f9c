"""Events that did not count: some of them are kept for some days, with the reason, to be read and replayed."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from libs.common.contracts.analytics import Reason, RejectedEvent
from libs.common.contracts.ids import public_id
from libs.common.db import Connection, Database, fetch_within
from libs.common.errors import storable
from libs.common.unnest import Columns
from services.analytics.incoming import Refused

KEPT_DAYS = 30
ONE_OF = 100
"""One of so many events of a tenant may be kept as rejected; the others are only counted."""
KEPT_AT_LEAST = 1_000
"""So many are kept of any tenant: whoever begins has sent few events, and most of them are wrong."""
EVENT_CHARACTERS_AT_MOST = 16 * 1024
"""Of a longer event only the beginning is kept, as text."""

_ROWS: Columns[Refused] = Columns(
    reason=("text", lambda refused: refused.reason.value),
    detail=("text", lambda refused: refused.detail),
    event=("text", lambda refused: _kept_event(refused.event)),
)
# The row of the day is written by every job of the tenant, and so the last thing that a job does.
_TALLY = """
INSERT INTO analytics.tallies AS t (tenant, day, events, rejected, kept)
VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2, $3, 0)
ON CONFLICT (tenant, day) DO UPDATE
  SET events = t.events + excluded.events, rejected = t.rejected + excluded.rejected
"""
_KEPT = """
UPDATE analytics.tallies SET kept = kept + $2 WHERE tenant = $1 AND day = (now() AT TIME ZONE 'UTC')::date
"""
_TALLIED = """
SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(rejected), 0)::bigint, coalesce(sum(kept), 0)::bigint
FROM analytics.tallies WHERE tenant = $1 AND day > (now() AT TIME ZONE 'UTC')::date - $2::int
"""
_KEEP = f"""
INSERT INTO analytics.rejected (tenant, job, reason, detail, event, at)
SELECT $1, $2, reason, detail, event::jsonb, now() FROM {_ROWS.unnested("new", first=3)}
"""  # noqa: S608 - made of constants
_PAGE = """
SELECT number, job, reason, detail, event, at FROM analytics.rejected
WHERE tenant = $1 AND number > $2 AND ($3::text IS NULL OR reason = $3) ORDER BY number LIMIT $4
"""
_NEXT = """
SELECT number, event, at FROM analytics.rejected
WHERE tenant = $1 AND number > $2 AND ($3::text IS NULL OR reason = $3) AND jsonb_typeof(event) = 'object'
ORDER BY number LIMIT $4 FOR UPDATE
"""
_REMOVE = "DELETE FROM analytics.rejected WHERE tenant = $1 AND number = ANY($2::bigint[])"
_STILL = """
UPDATE analytics.rejected r SET reason = still.reason, detail = still.detail
FROM unnest($2::bigint[], $3::text[], $4::text[]) AS still (number, reason, detail)
WHERE r.tenant = $1 AND r.number = still.number
"""
_ERASE = "DELETE FROM analytics.rejected WHERE tenant = $1 AND event ->> 'subject' = $2 RETURNING number"
_OLD = "DELETE FROM analytics.rejected WHERE at < now() - $1 * interval '1 day'"


def _kept_event(event: Any) -> str:
    """As JSON that can be stored, whatever the caller sent."""
    text = to_json(event, inf_nan_mode="null", serialize_unknown=True).decode()
    if len(text) > EVENT_CHARACTERS_AT_MOST:
        text = to_json(text[:EVENT_CHARACTERS_AT_MOST]).decode()
    return text.replace("\\u0000", "")


async def keep(connection: Connection, tenant: str, job: UUID, events: int, refused: Sequence[Refused]) -> None:
    """Tally a job's `events`, and keep of those refused what may be kept: nothing of an erased subject."""
    await fetch_within(connection, _TALLY, tenant, events, len(refused))
    worth_keeping = [one for one in refused if one.reason is not Reason.ERASED]
    if not worth_keeping:
        return
    ((total, _, kept),) = await fetch_within(connection, _TALLIED, tenant, KEPT_DAYS)
    room = max(KEPT_AT_LEAST, total // ONE_OF) - kept
    rows = worth_keeping[: max(0, room)]
    if rows:
        await fetch_within(connection, _KEPT, tenant, len(rows))
        await fetch_within(connection, _KEEP, tenant, job, *_ROWS.arrays(rows))


async def page(
    database: Database, tenant: str, *, after: int, limit: int, reason: str | None
) -> tuple[list[RejectedEvent], int]:
    """Rejected events, oldest first, and how many of KEPT_DAYS are not kept. Raises Unavailable."""
    rows = await database.fetch(_PAGE, tenant, after, reason, limit, tenant=tenant)
    ((_, rejected, kept),) = await database.fetch(_TALLIED, tenant, KEPT_DAYS, tenant=tenant)
    found = [
        RejectedEvent(number=row[0], job=public_id(row[1]), reason=row[2], detail=row[3], event=row[4], at=row[5])
        for row in rows
    ]
    return found, rejected - kept


async def next_to_replay(
    connection: Connection, tenant: str, after: int, reason: str | None, limit: int
) -> list[Any]:
    """`number, event, at` of rejected events behind number `after`, locked."""
    return await fetch_within(connection, _NEXT, tenant, after, reason, limit)


async def remove(connection: Connection, tenant: str, numbers: Sequence[int]) -> None:
    """Remove those that count by now."""
    await fetch_within(connection, _REMOVE, tenant, numbers)


async def still_refused(connection: Connection, tenant: str, refused: Sequence[tuple[int, Refused]]) -> None:
    """Note why these do not count, which may be another reason than before."""
    columns = [
        [number for number, _ in refused],
        [one.reason.value for _, one in refused],
        [None if one.detail is None else storable(one.detail) for _, one in refused],
    ]
    await fetch_within(connection, _STILL, tenant, *columns)


async def erase(connection: Connection, tenant: str, subject: str) -> int:
    """Remove the rejected events of a subject. Returns how many."""
    return len(await fetch_within(connection, _ERASE, tenant, subject))


async def remove_old(database: Database) -> None:
    """Remove those of all tenants that are older than KEPT_DAYS. Raises Unavailable."""
    await database.fetch(_OLD, KEPT_DAYS)

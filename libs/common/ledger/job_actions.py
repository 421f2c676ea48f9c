"""What people do to jobs by hand: cancel and retry, one or all that a filter means."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from sqlalchemy.exc import IntegrityError

from libs.common.db import Connection, Database, fetch_within
from libs.common.errors import ArgosyError
from libs.common.ledger.jobs import OPEN_CHILDREN, Filter, State

AT_A_TIME = 5_000
"""Jobs changed in one statement of a bulk call."""
LIVE = (State.SCHEDULED, State.QUEUED, State.RUNNING, State.WAITING)
RETRYABLE = (State.FAILED, State.CANCELLED)


class UniqueKeyTaken(ArgosyError):
    """Another unfinished job has the same unique_for."""


# A job that waits ends at once. One that runs is told to (see worker.py), and ends when its handler has let go.
# Its children go with it. They are looked for in a statement of their own, when the parent is locked: one that was
# just fanning out has them by then.
_LOCK = "SELECT id FROM ledger.jobs WHERE {condition} LIMIT {limit:d} FOR UPDATE"
_THEIRS = "SELECT id FROM meant UNION ALL SELECT c.id FROM ledger.jobs c JOIN meant m ON c.parent = m.id"
_CANCEL = f"""
WITH meant AS (SELECT unnest($1::uuid[]) AS id),
cancelled AS (
  UPDATE ledger.jobs SET
    state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
    finished_at = CASE WHEN state <> 'running' THEN now() END,
    cancel_requested_at = now(), ticketed_at = NULL,
    progress = CASE WHEN state <> 'waiting' THEN progress
               ELSE progress || jsonb_build_object('done', children - ({OPEN_CHILDREN})) END
  WHERE id IN ({_THEIRS}) AND finished_at IS NULL
  RETURNING id, queue, state, parent, finished_at),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'ended', count(*) FROM cancelled WHERE finished_at IS NOT NULL GROUP BY queue)
SELECT id, queue, state, parent FROM cancelled
"""  # noqa: S608 - made of constants
# `attempt` goes on: it is the fence. The errors stay: they are the history. Of a job with children, only those
# that have not succeeded work again, and it waits for them; if all have, only its last step is left to do.
_RETRY = f"""
WITH meant AS (
  SELECT id FROM ledger.jobs j
  WHERE tenant = $1 AND id = ANY($2::uuid[]) AND state IN ('failed', 'cancelled') AND parent IS NULL
    AND NOT EXISTS (SELECT FROM ledger.jobs c
                    WHERE c.parent = j.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  FOR UPDATE),
retried AS (
  UPDATE ledger.jobs j SET
    state = CASE WHEN EXISTS (SELECT FROM ledger.jobs c WHERE c.parent = j.id AND c.state <> 'succeeded')
            THEN 'waiting' ELSE 'queued' END,
    failures = 0, crashes = 0, due_at = now(), rank = now() - (due_at - rank),
    finished_at = NULL, cancel_requested_at = NULL, ticketed_at = NULL,
    replay = CASE WHEN parent IS NULL THEN $3::uuid END,
    progress = (SELECT jsonb_build_object('done', 0, 'total', j.children, 'note', NULL) WHERE j.children > 0)
  WHERE id IN ({_THEIRS}) AND state IN ('failed', 'cancelled')
  RETURNING id, queue, parent),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount) SELECT queue, 'ended', -count(*) FROM retried GROUP BY queue)
SELECT id FROM retried WHERE parent IS NULL
"""  # noqa: S608


class Cancelled(NamedTuple):
    """A job that was cancelled; or, where `state` is still RUNNING, asked to stop."""

    id: UUID
    queue: str
    state: State
    parent: UUID | None


async def cancel(db: Database, tenant: str, job_id: UUID) -> list[Cancelled]:
    """Cancel one job and its children; nothing if it has ended already, or is not there. Raises Unavailable."""
    return await _cancel(db, tenant, "tenant = $1 AND id = $2 AND finished_at IS NULL", [tenant, job_id])


async def cancel_some(db: Database, tenant: str, wanted: Filter) -> list[Cancelled]:
    """Cancel up to AT_A_TIME jobs that `wanted` means and that nobody has cancelled yet, and their children.

    Call again until there are none. Raises Unavailable.
    """
    condition, values = wanted.condition(tenant)
    condition += " AND cancel_requested_at IS NULL AND finished_at IS NULL"
    return await _cancel(db, tenant, condition, values)


async def _cancel(db: Database, tenant: str, condition: str, values: Sequence[object]) -> list[Cancelled]:
    async with db.begin(tenant=tenant) as connection:
        locked = await fetch_within(connection, _LOCK.format(condition=condition, limit=AT_A_TIME), *values)
        rows = await fetch_within(connection, _CANCEL, [row[0] for row in locked])
    return [Cancelled(*row) for row in rows]


async def retry(db: Database, tenant: str, job_id: UUID) -> bool:
    """Put a failed or cancelled job back into its queue, with all its tries; False if it cannot be, or not yet.

    Raises UniqueKeyTaken, Unavailable.
    """
    try:
        return bool(await db.fetch(_RETRY, tenant, [job_id], None, tenant=tenant))
    except asyncpg.UniqueViolationError as error:
        raise UniqueKeyTaken from error


async def retry_within(connection: Connection, tenant: str, ids: Sequence[UUID], replay: UUID) -> int:
    """Retry those of `ids` that can be, in the caller's transaction; how many. Whose place is taken is left."""
    try:
        async with connection.begin_nested():
            return len(await fetch_within(connection, _RETRY, tenant, list(ids), replay))
    except IntegrityError:
        if len(ids) == 1:
            return 0
        return sum([await retry_within(connection, tenant, [alone], replay) for alone in ids])


async def count(db: Database, tenant: str, wanted: Filter) -> dict[str, Any]:
    """`matched`, and when the `oldest` and the `newest` of them were accepted. Raises Unavailable."""
    condition, values = wanted.condition(tenant)
    sql = f"SELECT count(*), min(created_at), max(created_at) FROM ledger.jobs WHERE {condition}"  # noqa: S608
    (row,) = await db.fetch(sql, *values, tenant=tenant)
    return dict(zip(("matched", "oldest", "newest"), row, strict=True))

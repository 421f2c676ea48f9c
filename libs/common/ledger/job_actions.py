"""Cancel and retry on request: one job, or all jobs that match a filter."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from sqlalchemy.exc import IntegrityError

from libs.common.db import STATEMENT_S, Connection, Database, fetch_within
from libs.common.errors import ArgosyError
from libs.common.ledger.durability import CONFIRMED
from libs.common.ledger.jobs import OPEN_CHILDREN, WAITS_SINCE, Filter, State

AT_A_TIME = 5_000
"""The most jobs that one statement of a bulk call changes, not counting children."""
LIVE = (State.SCHEDULED, State.QUEUED, State.RUNNING, State.WAITING)
RETRYABLE = (State.FAILED, State.CANCELLED)


class UniqueKeyTaken(ArgosyError):
    """Another unfinished job has the same unique_for."""


# A job that is not running ends immediately. A running one is asked to stop (see worker.py), and ends when its
# handler has returned. Children are cancelled too. A separate statement finds them when the parent is locked: by
# then, a parent that was just fanning out has its children.
_LOCK = "SELECT id FROM ledger.jobs WHERE {condition} LIMIT {limit:d} FOR UPDATE"
_WITH_CHILDREN = (
    "SELECT id FROM selected UNION ALL SELECT c.id FROM ledger.jobs c JOIN selected s ON c.parent = s.id"
)
_CANCEL = f"""
WITH selected AS (SELECT unnest($1::uuid[]) AS id),
cancelled AS (
  UPDATE ledger.jobs SET
    state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
    finished_at = CASE WHEN state <> 'running' THEN now() END,
    cancel_requested_at = now(), ticketed_at = NULL,
    progress = CASE WHEN state <> 'waiting' THEN progress
               ELSE progress || jsonb_build_object('done', children - ({OPEN_CHILDREN})) END
  WHERE id IN ({_WITH_CHILDREN}) AND finished_at IS NULL
  RETURNING id, queue, state, parent, finished_at),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'ended', count(*) FROM cancelled WHERE finished_at IS NOT NULL GROUP BY queue)
SELECT id, queue, state, parent FROM cancelled
"""  # noqa: S608 - built from constants
# `attempt` is not reset, as it is part of the fencing token. The errors are kept, as they are the history. Of a
# job with children, only those that have not succeeded run again, and the job waits for them. If all have
# succeeded, only the job itself runs again. $5: those that have succeeded run again too. $6: a secret has to be
# given again, as it went when the job ended.
_RETRYING = f"""
WITH selected AS (
  SELECT id FROM ledger.jobs j
  WHERE tenant = $1 AND id = ANY($2::uuid[]) AND parent IS NULL
    AND (state IN ('failed', 'cancelled') OR $5 AND state = 'succeeded')
    AND NOT EXISTS (SELECT FROM ledger.jobs c
                    WHERE c.parent = j.id AND c.parent IS NOT NULL AND c.finished_at IS NULL)
  FOR UPDATE),
retried AS (
  UPDATE ledger.jobs j SET
    state = CASE WHEN EXISTS (SELECT FROM ledger.jobs c WHERE c.parent = j.id AND ($5 OR c.state <> 'succeeded'))
            THEN 'waiting' ELSE 'queued' END,
    failures = 0, crashes = 0, preempted = NULL, due_at = now(),
    rank = now() - ({WAITS_SINCE.format(job="j")} - rank),
    finished_at = NULL, cancel_requested_at = NULL, ticketed_at = NULL, result = NULL,
    retried = jsonb_build_object('after', attempt, 'at', now(), 'in_doubt', $4::boolean),
    replay = CASE WHEN parent IS NULL THEN $3::uuid END{{also}},
    progress = (SELECT jsonb_build_object('done', 0, 'total', j.children, 'note', NULL) WHERE j.children > 0)
  WHERE id IN ({_WITH_CHILDREN}) AND (state IN ('failed', 'cancelled') OR $5 AND state = 'succeeded')
  RETURNING id, queue, parent),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount) SELECT queue, 'ended', -count(*) FROM retried GROUP BY queue)
SELECT id FROM retried WHERE parent IS NULL
"""  # noqa: S608
_RETRY = _RETRYING.format(also="")
_RETRY_WITH_SECRET = _RETRYING.format(also=", secret = CASE WHEN parent IS NULL THEN $6::bytea END")


class Cancelled(NamedTuple):
    """A job that was cancelled or, if `state` is still RUNNING, was asked to stop."""

    id: UUID
    queue: str
    state: State
    parent: UUID | None


async def cancel(db: Database, tenant: str, job_id: UUID) -> list[Cancelled]:
    """Cancel one job and its children. An empty list if it has ended or does not exist. Raises Unavailable."""
    return await _cancel(db, tenant, "tenant = $1 AND id = $2 AND finished_at IS NULL", [tenant, job_id])


async def cancel_some(db: Database, tenant: str, wanted: Filter) -> list[Cancelled]:
    """Cancel up to AT_A_TIME jobs that match `wanted` and have no cancel requested yet, and their children.

    Call it again until it returns an empty list. Raises Unavailable.
    """
    condition, values = wanted.condition(tenant)
    condition += " AND cancel_requested_at IS NULL AND finished_at IS NULL"
    return await _cancel(db, tenant, condition, values)


async def _cancel(db: Database, tenant: str, condition: str, values: Sequence[object]) -> list[Cancelled]:
    async with db.begin(tenant=tenant, timeout_s=STATEMENT_S) as connection:
        locked = await fetch_within(connection, _LOCK.format(condition=condition, limit=AT_A_TIME), *values)
        rows = await fetch_within(connection, _CANCEL, [row[0] for row in locked])
        if not rows:  # an earlier call may have cancelled them, and the caller is told so
            await fetch_within(connection, f"SELECT {CONFIRMED}")
    return [Cancelled(*row) for row in rows]


async def retry(
    db: Database,
    tenant: str,
    job_id: UUID,
    *,
    in_doubt: bool = False,
    if_succeeded: bool = False,
    secret: bytes | None = None,
) -> bool:
    """Requeue a failed or cancelled job, with all of its attempts again.

    `in_doubt`: its handler is to repeat what may have been done already. `if_succeeded`: requeue it also if it has
    succeeded, with all of its children. `secret`: as in NewJob; the earlier one is gone. False if it is in another
    state, is a child, has unfinished children, or does not exist. Raises UniqueKeyTaken, Unavailable.
    """
    try:
        asked = (tenant, [job_id], None, in_doubt, if_succeeded)
        if secret is None:
            return bool(await db.fetch(_RETRY, *asked, tenant=tenant))
        return bool(await db.fetch(_RETRY_WITH_SECRET, *asked, secret, tenant=tenant))
    except asyncpg.UniqueViolationError as error:
        raise UniqueKeyTaken from error


async def retry_within(connection: Connection, tenant: str, ids: Sequence[UUID], replay: UUID) -> int:
    """Retry those of `ids` that can be retried, in the caller's transaction. Return how many.

    A job whose unique_for is taken by another unfinished job is skipped.
    """
    try:
        async with connection.begin_nested():
            return len(await fetch_within(connection, _RETRY, tenant, list(ids), replay, False, False))
    except IntegrityError:
        if len(ids) == 1:
            return 0
        return sum([await retry_within(connection, tenant, [job_id], replay) for job_id in ids])


async def count(db: Database, tenant: str, wanted: Filter) -> dict[str, Any]:
    """How many jobs match (`matched`), and when the `oldest` and `newest` were accepted. Raises Unavailable."""
    async with db.begin(tenant=tenant) as connection:
        return await count_within(connection, tenant, wanted)


async def count_within(connection: Connection, tenant: str, wanted: Filter) -> dict[str, Any]:
    """The same, in the caller's transaction."""
    condition, values = wanted.condition(tenant)
    sql = f"SELECT count(*), min(created_at), max(created_at) FROM ledger.jobs WHERE {condition}"  # noqa: S608
    (row,) = await fetch_within(connection, sql, *values)
    return dict(zip(("matched", "oldest", "newest"), row, strict=True))

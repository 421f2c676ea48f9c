"""How an attempt ended, written only by the worker that still holds the job."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.jobs import State


class Outcome(NamedTuple):
    """The end of attempt `attempt` of job `id`: an end state, or QUEUED for another try.

    `retry_in_s`: seconds until the next try. `failed`: whether this counts as a failure. A release by
    shutdown does not. `snoozed`: the attempt went well, so failures and crashes before it no longer count.
    """

    id: UUID
    attempt: int
    state: State
    result: dict[str, Any] | None = None
    artifacts: list[dict[str, Any]] | None = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    retry_in_s: float = 0.0
    failed: bool = False
    snoozed: bool = False


# "IS NOT DISTINCT FROM" is "=" that no index answers: the way in must be the job's id, never all a worker holds.
# Whoever asked for a cancel gets it at the end of the attempt, unless that was an end in itself.
_FINISH = """
WITH ended AS (
  UPDATE ledger.jobs j SET
    state = CASE WHEN u.state <> 'queued' THEN u.state
                 WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                 WHEN u.retry_in_s > 0 THEN 'scheduled' ELSE 'queued' END,
    worker = NULL,
    failures = CASE WHEN u.put_off THEN 0 ELSE j.failures + u.failed::int END,
    crashes = CASE WHEN u.put_off THEN 0 ELSE j.crashes END,
    result = u.result::jsonb, artifacts = u.artifacts::jsonb,
    errors = CASE WHEN u.error IS NULL THEN j.errors
      ELSE CASE WHEN jsonb_array_length(j.errors) >= 50 THEN j.errors - 0 ELSE coalesce(j.errors, '[]') END ||
      (u.error::jsonb || jsonb_build_object('at', now(), 'attempt', j.attempt)) END,
    progress = coalesce(u.progress::jsonb, j.progress),
    finished_at = CASE WHEN u.state <> 'queued' OR j.cancel_requested_at IS NOT NULL THEN now() END,
    due_at = CASE WHEN u.retry_in_s > 0 THEN now() + u.retry_in_s * interval '1 second' ELSE j.due_at END,
    rank = CASE WHEN u.retry_in_s > 0
           THEN now() + u.retry_in_s * interval '1 second' - (j.due_at - j.rank) ELSE j.rank END,
    bytes = j.bytes + u.bytes
  FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[],
              $9::bool[], $10::bool[], $11::bigint[])
    AS u (id, attempt, state, result, artifacts, error, progress, retry_in_s, failed, put_off, bytes)
  WHERE j.id = u.id AND j.attempt = u.attempt AND j.worker IS NOT DISTINCT FROM $12 AND j.state = 'running'
  RETURNING j.id, j.queue, j.finished_at, u.bytes),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'ended', count(*) FROM ended WHERE finished_at IS NOT NULL GROUP BY queue
  UNION ALL
  SELECT queue, 'bytes', sum(bytes) FROM ended GROUP BY queue HAVING sum(bytes) > 0)
SELECT id FROM ended
"""


async def finish(db: Database, worker: UUID, outcomes: Sequence[Outcome]) -> list[bool]:
    """Write the `outcomes` of `worker` in one statement. For each, whether it was taken.

    False: the worker no longer held the job, or this is a repeated call and the first one did it.
    Raises Unavailable.
    """
    taken = {row[0] for row in await db.fetch(_FINISH, *_columns(outcomes), worker)}
    return [outcome.id in taken for outcome in outcomes]


async def finish_within(connection: Connection, worker: UUID, outcome: Outcome) -> bool:
    """Write `outcome` as part of the caller's transaction, beside the handler's own rows.

    If it answers False the caller must roll back, so that the effects of a lost attempt count nowhere.
    """
    return bool(await fetch_within(connection, _FINISH, *_columns([outcome]), worker))


def _columns(outcomes: Sequence[Outcome]) -> list[list[object]]:
    return [
        [o.id for o in outcomes],
        [o.attempt for o in outcomes],
        [o.state.value for o in outcomes],
        [_text(o.result) for o in outcomes],
        [_text(o.artifacts) for o in outcomes],
        [_text(o.error) for o in outcomes],
        [_text(o.progress) for o in outcomes],
        [o.retry_in_s for o in outcomes],
        [o.failed for o in outcomes],
        [o.snoozed for o in outcomes],
        [sum(artifact["size"] for artifact in o.artifacts or ()) for o in outcomes],
    ]


def _text(document: object) -> str | None:
    return None if document is None else orjson.dumps(document).decode()

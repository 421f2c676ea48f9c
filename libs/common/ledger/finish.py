"""Records the outcome of an attempt. Only the worker that still holds the job can write it."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.contracts.json_documents import encoded
from libs.common.db import Connection, Database, fetch_within
from libs.common.ledger.by_id import in_state
from libs.common.ledger.durability import CONFIRMED
from libs.common.ledger.jobs import WAITS_SINCE, State
from libs.common.unnest import Columns

FINISH_WITHIN_S = 10.0
"""Longer than for other hot statements, as it writes up to a thousand results."""


class Outcome(NamedTuple):
    """The outcome of attempt `attempt` of job `id`: an end state, or QUEUED for another attempt.

    `retry_in_s`: seconds until the next attempt. `failed`: whether this attempt counts as a failure; a release by
    shutdown does not, nor does an attempt that met a server that is away. `snoozed`: the attempt succeeded but the
    job is not done, so earlier failures and crashes no longer count.
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


def _text(document: Any) -> str | None:
    return None if document is None else encoded(document).decode()


_OUTCOMES: Columns[Outcome] = Columns(
    id=("uuid", lambda outcome: outcome.id),
    attempt=("int", lambda outcome: outcome.attempt),
    state=("text", lambda outcome: outcome.state.value),
    result=("text", lambda outcome: _text(outcome.result)),
    artifacts=("text", lambda outcome: _text(outcome.artifacts)),
    error=("text", lambda outcome: _text(outcome.error)),
    progress=("text", lambda outcome: _text(outcome.progress)),
    retry_in_s=("float8", lambda outcome: outcome.retry_in_s),
    failed=("bool", lambda outcome: outcome.failed),
    snoozed=("bool", lambda outcome: outcome.snoozed),
    bytes=("bigint", lambda outcome: sum(artifact["size"] for artifact in outcome.artifacts or ())),
)
# "IS NOT DISTINCT FROM" is "=" that no index supports: the plan must find rows by job id, not by worker.
# If a row is missing, an earlier call may have written it: that one must have been replicated before this returns.
# An error that does not count as a failure tells of a server that is away: an outage that goes on is one entry.
# A requested cancel takes effect at the end of the attempt, unless the attempt ended the job anyway.
_ENDING = f"""
WITH ended AS (
  UPDATE ledger.jobs j SET
    state = CASE WHEN u.state <> 'queued' THEN u.state
                 WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
                 WHEN u.retry_in_s > 0 THEN 'scheduled' ELSE 'queued' END,
    worker = NULL,
    failures = CASE WHEN u.snoozed THEN 0 ELSE j.failures + u.failed::int END,
    crashes = CASE WHEN u.snoozed THEN 0 ELSE j.crashes END,
    result = u.result::jsonb, artifacts = u.artifacts::jsonb,
    errors = CASE WHEN u.error IS NULL THEN j.errors
      ELSE CASE WHEN NOT u.failed AND j.errors -> -1 ->> 'code' = u.error::jsonb ->> 'code' THEN j.errors - -1
                WHEN jsonb_array_length(j.errors) >= 50 THEN j.errors - 0 ELSE coalesce(j.errors, '[]') END ||
      (u.error::jsonb || jsonb_build_object('at', now(), 'attempt', j.attempt)) END,
    progress = coalesce(u.progress::jsonb, j.progress),
    finished_at = CASE WHEN u.state <> 'queued' OR j.cancel_requested_at IS NOT NULL THEN now() END,
    due_at = CASE WHEN u.retry_in_s > 0 THEN now() + u.retry_in_s * interval '1 second' ELSE j.due_at END,
    rank = CASE WHEN u.retry_in_s > 0
           THEN now() + u.retry_in_s * interval '1 second' - ({WAITS_SINCE.format(job="j")} - j.rank)
           ELSE j.rank END,
    bytes = j.bytes + u.bytes{{forgetting}}
  FROM {_OUTCOMES.unnested("u")}
  WHERE j.id = u.id AND j.attempt = u.attempt AND j.worker IS NOT DISTINCT FROM ${len(_OUTCOMES) + 1}
    AND {in_state(State.RUNNING, "j")}
  RETURNING j.id, j.queue, j.finished_at, u.bytes),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'ended', count(*) FROM ended WHERE finished_at IS NOT NULL GROUP BY queue
  UNION ALL
  SELECT queue, 'bytes', sum(bytes) FROM ended GROUP BY queue HAVING sum(bytes) > 0)
SELECT id, false FROM ended
UNION ALL
SELECT NULL, {CONFIRMED} WHERE (SELECT count(*) FROM ended) < cardinality($1::uuid[])
"""  # noqa: S608 - made of constants
_HELD = f"""
SELECT 1 FROM ledger.jobs
WHERE id = $1 AND attempt = $2 AND worker IS NOT DISTINCT FROM $3 AND {in_state(State.RUNNING)}
"""  # noqa: S608 - made of constants
_FINISH = _ENDING.format(forgetting="")
_FINISH_AND_FORGET = _ENDING.format(forgetting=", payload = '{}'")


async def finish(db: Database, worker: UUID, outcomes: Sequence[Outcome]) -> list[bool]:
    """Write the `outcomes` of `worker` in one statement. Return for each whether it was written.

    False: the worker no longer held the job, or this is a repeated call and the first one has written it.
    Raises Unavailable.
    """
    rows = await db.fetch(_FINISH, *_OUTCOMES.arrays(outcomes), worker, timeout_s=FINISH_WITHIN_S)
    written = {row[0] for row in rows}
    return [outcome.id in written for outcome in outcomes]


async def is_held(connection: Connection, worker: UUID, outcome: Outcome) -> bool:
    """Whether `worker` can still write `outcome`. That it can is sure only when `finish_within` has done it."""
    return bool(await fetch_within(connection, _HELD, outcome.id, outcome.attempt, worker))


async def finish_within(
    connection: Connection, worker: UUID, outcome: Outcome, *, forget_payload: bool = False
) -> bool:
    """Write `outcome` in the caller's transaction, together with the handler's own rows.

    If it returns False, the caller must roll back, so that a lost attempt has no effects. With `forget_payload`,
    the payload becomes `{}`.
    """
    statement = _FINISH_AND_FORGET if forget_payload else _FINISH
    ((written, _),) = await fetch_within(connection, statement, *_OUTCOMES.arrays([outcome]), worker)
    return written is not None

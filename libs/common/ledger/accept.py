"""Accepting jobs: many in one statement, and committed before any caller gets a reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from libs.common import metrics
from libs.common.db import PROMPT_S, Database
from libs.common.errors import Unavailable
from libs.common.ledger.durability import CONFIRMED
from libs.common.ledger.jobs import HEAD_START_S, NewJob, State
from libs.common.unnest import Columns

New = tuple[NewJob, bool]
"""A job, and whether its ticket is published as soon as it is accepted."""
_OF_A_JOB: dict[str, tuple[str, Callable[[New], object]]] = {
    "id": ("uuid", lambda new: new[0].id),
    "tenant": ("text", lambda new: new[0].tenant),
    "created_by": ("text", lambda new: new[0].created_by),
    "queue": ("text", lambda new: new[0].queue),
    "kind": ("text", lambda new: new[0].kind),
    "priority": ("text", lambda new: new[0].priority),
    "head_start_s": ("float8", lambda new: HEAD_START_S[new[0].priority]),
    "payload": ("jsonb", lambda new: new[0].payload.decode()),
    "tags": ("jsonb", lambda new: orjson.dumps(new[0].tags).decode() if new[0].tags else "[]"),
    "trace": ("text", lambda new: new[0].trace),
    "max_attempts": ("int", lambda new: new[0].max_attempts),
    "timeout_s": ("float8", lambda new: new[0].timeout_s),
    "run_at": ("timestamptz", lambda new: new[0].run_at),
    "idempotency_key": ("text", lambda new: new[0].idempotency_key),
    "request_sha256": ("bytea", lambda new: new[0].request_sha256),
    "unique_key": ("text", lambda new: new[0].unique_key),
    "schedule": ("uuid", lambda new: new[0].schedule),
    "bytes": ("bigint", lambda new: new[0].bytes),
    "ticketed": ("bool", lambda new: new[1]),
}
_NEW = Columns(**_OF_A_JOB)
_NEW_WITH_SECRETS = Columns(**_OF_A_JOB, secret=("bytea", lambda new: new[0].secret))
# A duplicate row would be a job that runs twice. So nothing is inserted for a repeated id (a retry after a lost
# reply), a repeated Idempotency-Key, or the unique_for of a job that has not ended.
# A run_at in the past overtakes nobody: such jobs are ranked by the clock, which keeps their order.
_ACCEPTING = """
WITH new AS (
  INSERT INTO ledger.jobs AS j
    (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, trace, max_attempts, timeout_s,
     due_at, ticketed_at, idempotency_key, request_sha256, unique_key, schedule, bytes{also})
  SELECT id, tenant, created_by, queue, kind,
         CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
         priority,
         CASE WHEN run_at <= now() THEN clock_timestamp() ELSE coalesce(run_at, now()) END
           - head_start_s * interval '1 second',
         payload, tags, trace, max_attempts, timeout_s, coalesce(run_at, now()),
         CASE WHEN ticketed AND (run_at IS NULL OR run_at <= now()) THEN now() END,
         idempotency_key, request_sha256, unique_key, schedule, bytes{also}
  FROM {new}
  ON CONFLICT DO NOTHING
  RETURNING id, queue, state, created_at, due_at, idempotency_key, request_sha256, bytes),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'accepted', count(*) FROM new GROUP BY queue
  UNION ALL
  SELECT queue, 'bytes', sum(bytes) FROM new GROUP BY queue HAVING sum(bytes) > 0)
SELECT id, state, created_at, due_at, idempotency_key, request_sha256 FROM new
"""
_ACCEPT = _ACCEPTING.format(new=_NEW.unnested("new"), also="")
# Apart, so that jobs without secrets are accepted before the migration that brings the column.
_ACCEPT_WITH_SECRETS = _ACCEPTING.format(new=_NEW_WITH_SECRETS.unnested("new"), also=", secret")
_REQUESTED: Columns[NewJob] = Columns(
    id=("uuid", lambda job: job.id),
    tenant=("text", lambda job: job.tenant),
    queue=("text", lambda job: job.queue),
    idempotency_key=("text", lambda job: job.idempotency_key),
    unique_key=("text", lambda job: job.unique_key),
)
_EXISTING = f"""
SELECT requested.id, j.id, j.state, j.created_at, j.due_at, j.idempotency_key, j.request_sha256, {CONFIRMED}
FROM {_REQUESTED.unnested("requested")}
CROSS JOIN LATERAL (
  SELECT * FROM ledger.jobs WHERE id = requested.id
  UNION ALL
  SELECT * FROM ledger.jobs WHERE tenant = requested.tenant AND idempotency_key = requested.idempotency_key
  UNION ALL
  SELECT * FROM ledger.jobs WHERE tenant = requested.tenant AND queue = requested.queue
    AND unique_key = requested.unique_key AND state IN ('scheduled', 'queued', 'running', 'waiting')
  LIMIT 1) j
"""  # noqa: S608


@dataclass(slots=True, frozen=True)
class Accepted:
    """What the ledger adds to a new job. If `id` is not the requested one, it is the existing job."""

    id: UUID
    state: State
    created_at: datetime
    due_at: datetime
    idempotency_key: str | None
    request_sha256: bytes | None


async def accept(
    db: Database, jobs: Sequence[NewJob], *, ticketed: Sequence[bool], timeout_s: float = PROMPT_S
) -> list[Accepted]:
    """Commit `jobs` in one statement, and return one result for each, in the same order.

    A job whose Idempotency-Key or unique_for is taken is not inserted; its result is the job that has it.
    `ticketed[i]` means that the caller publishes the ticket of `jobs[i]` as soon as this returns; if it does not,
    the dispatcher publishes it as a lost ticket. Whether new or found, a job that is returned is replicated where
    replication is synchronous. Raises Unavailable; it is safe to repeat the call with the same
    jobs.
    """
    new = list(zip(jobs, ticketed, strict=True))
    has_secrets = any(job.secret is not None for job in jobs)
    sql, columns = (_ACCEPT_WITH_SECRETS, _NEW_WITH_SECRETS) if has_secrets else (_ACCEPT, _NEW)
    rows = await db.fetch(sql, *columns.arrays(new), timeout_s=timeout_s)
    known = {row[0]: Accepted(*row) for row in rows}
    for job in jobs:
        if job.id in known:
            metrics.jobs_accepted.labels(job.queue).inc()
    missing = [job for job in jobs if job.id not in known]
    if missing:
        rows = await db.fetch(_EXISTING, *_REQUESTED.arrays(missing), timeout_s=PROMPT_S)
        known |= {row[0]: Accepted(*row[1:-1]) for row in rows}
    if any(job.id not in known for job in jobs):
        raise Unavailable("The conflicting job has just ended.")  # a retry will succeed
    return [known[job.id] for job in jobs]

"""Accepting jobs: committed before anybody is told so, many in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from libs.common import metrics
from libs.common.db import Database
from libs.common.ledger.jobs import HEAD_START_S, NewJob, State

# One row too many would be a job done twice: a repeated id, from a try whose answer was lost, changes nothing.
_ACCEPT = """
INSERT INTO ledger.jobs AS j
  (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags, trace, max_attempts, timeout_s,
   due_at, ticketed_at)
SELECT id, tenant, created_by, queue, kind,
       CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
       priority, coalesce(run_at, now()) - head_start_s * interval '1 second',
       payload, tags, trace, max_attempts, timeout_s, coalesce(run_at, now()),
       CASE WHEN ticketed AND (run_at IS NULL OR run_at <= now()) THEN now() END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[], $8::jsonb[],
            $9::jsonb[], $10::text[], $11::int[], $12::float8[], $13::timestamptz[], $14::bool[])
  AS new (id, tenant, created_by, queue, kind, priority, head_start_s, payload, tags, trace, max_attempts,
          timeout_s, run_at, ticketed)
ON CONFLICT (id) DO NOTHING
RETURNING id, state, created_at, due_at
"""
_ALREADY = "SELECT id, state, created_at, due_at FROM ledger.jobs WHERE id = ANY($1)"


@dataclass(slots=True, frozen=True)
class Accepted:
    """What the ledger adds to a new job."""

    id: UUID
    state: State
    created_at: datetime
    due_at: datetime


async def accept(db: Database, jobs: Sequence[NewJob], *, ticketed: Sequence[bool]) -> list[Accepted]:
    """Commit `jobs`, in one statement; the answers are in the order of `jobs`.

    `ticketed[i]` says that the caller prints the ticket of `jobs[i]` itself as soon as this returns;
    if it never does, dispatch notices. Raises Unavailable; repeating the call with the same jobs is safe.
    """
    columns = zip(*(_row(job, mark) for job, mark in zip(jobs, ticketed, strict=True)), strict=True)
    rows = await db.fetch(_ACCEPT, *map(list, columns))
    if len(rows) < len(jobs):
        inserted = {row["id"] for row in rows}
        rows += await db.fetch(_ALREADY, [job.id for job in jobs if job.id not in inserted])
    for job in jobs:
        metrics.jobs_accepted.labels(job.queue).inc()
    known = {row[0]: row for row in rows}
    return [Accepted(*known[job.id]) for job in jobs]


def _row(job: NewJob, ticketed: bool) -> tuple[object, ...]:
    return (
        job.id,
        job.tenant,
        job.created_by,
        job.queue,
        job.kind,
        job.priority,
        HEAD_START_S[job.priority],
        job.payload.decode(),
        orjson.dumps(job.tags).decode() if job.tags else "[]",
        job.trace,
        job.max_attempts,
        job.timeout_s,
        job.run_at,
        ticketed,
    )

"""Claiming jobs, and the lease that protects them while their worker lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import orjson

from libs.common.db import Database
from libs.common.ledger.durability import LAZILY

HEARTBEAT_EVERY_S = 5.0
HEARTBEAT_WITHIN_S = 4.0
"""A heartbeat that takes longer is tried again, on another connection."""
LEASE_S = 20.0
"""A worker silent for this long is taken for dead, and its jobs go back to the queue."""


class Claim(NamedTuple):
    """A job in the hands of a worker. `payload` is its JSON text; `waited_s` is from due to started."""

    id: UUID
    attempt: int
    failures: int
    max_attempts: int
    timeout_s: float
    tenant: str
    kind: str
    payload: str
    trace: str | None
    waited_s: float
    parent: UUID | None
    children: int


_REGISTER = """
INSERT INTO ledger.workers (id, queue, slots, host, pid) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()
"""


async def register(db: Database, worker: UUID, *, queue: str, slots: int, host: str, pid: int) -> None:
    """Enter a worker process, so that it may claim."""
    await db.fetch(_REGISTER, worker, queue, slots, host, pid)


# A worker that was taken for dead has lost its row and must not claim, or nobody would watch over the job.
# A ticket of a job that has none in the ledger is from before a pause: the caps do not count it.
_CLAIM = f"""
UPDATE ledger.jobs SET state = 'running', attempt = attempt + 1, worker = $2, started_at = now(),
                       ticketed_at = NULL, progress = NULL
WHERE id = ANY($1::uuid[]) AND state = 'queued' AND ticketed_at IS NOT NULL
  AND EXISTS (SELECT FROM ledger.workers WHERE id = $2)
  AND NOT EXISTS (SELECT FROM ledger.workers w JOIN ledger.queues q ON q.name = w.queue
                  WHERE w.id = $2 AND q.paused_at IS NOT NULL)
  AND {LAZILY}
RETURNING id, attempt, failures, max_attempts, timeout_s, tenant, kind, payload::text, trace,
          extract(epoch FROM started_at - due_at)::float8, parent, children
"""  # noqa: S608 - made of constants


async def claim(db: Database, worker: UUID, ids: Sequence[UUID]) -> list[Claim]:
    """Take those of the jobs `ids` that still wait, all in one statement. The others' tickets were stale.

    Raises Unavailable. A claim that committed while its answer was lost comes back with the heartbeat.
    """
    return [Claim._make(row) for row in await db.fetch(_CLAIM, ids, worker)]


_HEARTBEAT = "UPDATE ledger.workers SET heartbeat_at = now() WHERE id = $1 RETURNING id"
_PROGRESS = f"""
UPDATE ledger.jobs j SET progress = u.progress
FROM unnest($1::uuid[], $2::int[], $3::jsonb[]) AS u (id, attempt, progress)
WHERE j.id = u.id AND j.attempt = u.attempt AND j.worker IS NOT DISTINCT FROM $4 AND j.state = 'running'
  AND {LAZILY}
"""  # noqa: S608
_HELD = """
SELECT id, attempt, started_at < now() - interval '10 seconds', cancel_requested_at IS NOT NULL FROM ledger.jobs
WHERE worker = $1 AND state = 'running'
"""


@dataclass(slots=True, frozen=True)
class Lease:
    """The ledger's answer to a heartbeat, as sets of (job id, attempt)."""

    held: frozenset[tuple[UUID, int]]
    """What the ledger believes this worker to be running."""
    settled: frozenset[tuple[UUID, int]]
    """The part of it claimed long enough ago that the worker must know of it."""
    cancelled: frozenset[tuple[UUID, int]]
    """The part of it that somebody has asked to cancel."""


async def heartbeat(db: Database, worker: UUID) -> Lease | None:
    """Renew the lease. None if the worker was taken for dead: its jobs are gone, it must register anew."""
    if not await db.fetch(_HEARTBEAT, worker, timeout_s=HEARTBEAT_WITHIN_S):
        return None
    rows = await db.fetch(_HELD, worker, timeout_s=HEARTBEAT_WITHIN_S)
    return Lease(
        held=frozenset((row[0], row[1]) for row in rows),
        settled=frozenset((row[0], row[1]) for row in rows if row[2]),
        cancelled=frozenset((row[0], row[1]) for row in rows if row[3]),
    )


async def store_progress(
    db: Database, worker: UUID, latest: Mapping[tuple[UUID, int], Mapping[str, object]]
) -> None:
    """Keep the latest progress of each (job id, attempt); of jobs no longer held, it is dropped."""
    ids, attempts = zip(*latest, strict=True)
    documents = [orjson.dumps(progress).decode() for progress in latest.values()]
    await db.fetch(_PROGRESS, list(ids), list(attempts), documents, worker)


REMOVE_WORKERS = """
WITH gone AS (DELETE FROM ledger.workers WHERE {which} RETURNING queue, heartbeat_at)
INSERT INTO ledger.queues (name, worker_seen_at) SELECT queue, max(heartbeat_at) FROM gone GROUP BY queue
ON CONFLICT (name) DO UPDATE SET worker_seen_at = greatest(queues.worker_seen_at, excluded.worker_seen_at)
"""
"""Removes workers, and leaves a note of when their queue last had one."""


async def deregister(db: Database, worker: UUID) -> None:
    """Strike a worker process out; whatever it still held goes back to the queue at the next sweep."""
    await db.fetch(REMOVE_WORKERS.format(which="id = $1"), worker)

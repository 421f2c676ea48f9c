"""Claiming jobs, and the lease that protects them while their worker is alive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from pydantic_core import from_json

from libs.common.db import PROMPT_S, Database
from libs.common.ledger.by_id import in_state
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.jobs import WAITS_SINCE, State

HEARTBEAT_EVERY_S = 5.0
HEARTBEAT_WITHIN_S = 4.0
"""A heartbeat that takes longer is retried on another connection."""
LEASE_S = 20.0
"""A worker without a heartbeat for this long is considered dead, and its jobs go back to the queue."""


PAYLOAD_BYTES_AT_MOST = 64 * 1024
"""As stored, which may be compressed. Many large payloads together would take longer than a claim may."""


Offers = Mapping[str, Sequence[str]]
"""What a worker can do of what jobs may ask for, by the name of the option: such as its languages."""


class Retried(NamedTuple):
    """The last retry by hand. A retry that the worker decided on after an error is none.

    `after`: the last attempt before it. `at`: its time, which is the same for a job and its children. `in_doubt`:
    whether what may have been done already is to be done again.
    """

    after: int
    at: datetime
    in_doubt: bool


class Claim(NamedTuple):
    """A job that a worker has claimed. `waited_s` is the seconds from due to started."""

    id: UUID
    attempt: int
    failures: int
    max_attempts: int
    timeout_s: float
    tenant: str
    kind: str
    payload: str | None
    """JSON text; None if it is large, see `large_payload`."""
    trace: str | None
    waited_s: float
    parent: UUID | None
    children: int
    retried: Retried | None = None


_REGISTER = """
INSERT INTO ledger.workers (id, queue, slots, host, pid) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()
"""


async def register(db: Database, worker: UUID, *, queue: str, slots: int, host: str, pid: int) -> None:
    """Register a worker process, so that it may claim jobs. Raises Unavailable."""
    await db.fetch(_REGISTER, worker, queue, slots, host, pid, timeout_s=PROMPT_S)


async def tell_offers(db: Database, worker: UUID, offers: Offers) -> None:
    """Let gateways know what a registered worker offers. Raises Unavailable."""
    told = orjson.dumps(offers).decode()
    await db.fetch("UPDATE ledger.workers SET offers = $2::jsonb WHERE id = $1", worker, told, timeout_s=PROMPT_S)


# A worker that was considered dead has lost its row. It must not claim: no lease would protect the job.
# A ticket of a job without `ticketed_at` was published before a pause or a new cap: the caps do not count it.
_CLAIM = f"""
UPDATE ledger.jobs SET state = 'running', attempt = attempt + 1, worker = $2, started_at = now(),
                       ticketed_at = NULL, progress = CASE WHEN children > 0 THEN progress END
WHERE id = ANY($1::uuid[]) AND {in_state(State.QUEUED)} AND ticketed_at IS NOT NULL
  AND EXISTS (SELECT FROM ledger.workers WHERE id = $2)
  AND NOT EXISTS (SELECT FROM ledger.workers w JOIN ledger.queues q ON q.name = w.queue
                  WHERE w.id = $2 AND q.paused_at IS NOT NULL)
  AND {LAZILY}
RETURNING id, attempt, failures, max_attempts, timeout_s, tenant, kind,
          CASE WHEN pg_column_size(payload) <= {PAYLOAD_BYTES_AT_MOST} THEN payload::text END, trace,
          extract(epoch FROM started_at - {WAITS_SINCE.format(job="jobs")})::float8,
          parent, children, retried::text
"""  # noqa: S608 - built from constants


async def claim(db: Database, worker: UUID, ids: Sequence[UUID]) -> list[Claim]:
    """Claim those jobs of `ids` that still wait, in one statement. The tickets of the others were stale.

    Raises Unavailable. If a claim commits and its reply is lost, the heartbeat finds the jobs and releases them.
    """
    return [_claimed(row) for row in await db.fetch(_CLAIM, ids, worker, timeout_s=PROMPT_S)]


async def large_payload(db: Database, job_id: UUID) -> str:
    """The payload of a claimed job, as JSON text. Raises Unavailable."""
    rows = await db.fetch("SELECT payload::text FROM ledger.jobs WHERE id = $1", job_id)
    return str(rows[0][0]) if rows else "null"


# A child has none of its own: it is read from its parent, which waits for it and so has not ended.
_SEALED = """
SELECT coalesce(p.secret, j.secret) FROM ledger.jobs j LEFT JOIN ledger.jobs p ON p.id = j.parent WHERE j.id = $1
"""


async def secret_of(db: Database, job_id: UUID) -> bytes | None:
    """The secret of a claimed job or its parent, as the gateway has sealed it, if any. Raises Unavailable."""
    rows = await db.fetch(_SEALED, job_id, timeout_s=PROMPT_S)
    return rows[0][0] if rows else None


def _claimed(row: Sequence[Any]) -> Claim:
    claimed = Claim._make(row)
    if row[-1] is None:
        return claimed
    retried = from_json(row[-1])
    at = datetime.fromisoformat(retried["at"])
    return claimed._replace(retried=Retried(retried["after"], at, retried["in_doubt"]))


_HEARTBEAT = "UPDATE ledger.workers SET heartbeat_at = now() WHERE id = $1 RETURNING id"
_PROGRESS = f"""
UPDATE ledger.jobs j SET progress = u.progress
FROM unnest($1::uuid[], $2::int[], $3::jsonb[]) AS u (id, attempt, progress)
WHERE j.id = u.id AND j.attempt = u.attempt AND j.worker IS NOT DISTINCT FROM $4
  AND {in_state(State.RUNNING, "j")} AND {LAZILY}
"""  # noqa: S608
_HELD = """
SELECT id, attempt, started_at < now() - interval '10 seconds', cancel_requested_at IS NOT NULL,
       coalesce(attempt = ANY(preempted), false) FROM ledger.jobs
WHERE worker = $1 AND state = 'running'
"""


@dataclass(slots=True, frozen=True)
class Lease:
    """The ledger's reply to a heartbeat, as sets of (job id, attempt)."""

    held: frozenset[tuple[UUID, int]]
    """The jobs that this worker runs, according to the ledger."""
    settled: frozenset[tuple[UUID, int]]
    """Those claimed more than 10 s ago, which the worker must know of."""
    cancelled: frozenset[tuple[UUID, int]]
    """Those for which a cancel was requested."""
    preempted: frozenset[tuple[UUID, int]]
    """Those that are to give way to other tenants."""


async def heartbeat(db: Database, worker: UUID) -> Lease | None:
    """Renew the lease. None if the worker was considered dead: it has lost its jobs and must register again.

    Raises Unavailable.
    """
    if not await db.fetch(_HEARTBEAT, worker, timeout_s=HEARTBEAT_WITHIN_S):
        return None
    rows = await db.fetch(_HELD, worker, timeout_s=HEARTBEAT_WITHIN_S)
    return Lease(
        held=frozenset((row[0], row[1]) for row in rows),
        settled=frozenset((row[0], row[1]) for row in rows if row[2]),
        cancelled=frozenset((row[0], row[1]) for row in rows if row[3]),
        preempted=frozenset((row[0], row[1]) for row in rows if row[4]),
    )


async def store_progress(
    db: Database, worker: UUID, latest: Mapping[tuple[UUID, int], Mapping[str, object]]
) -> None:
    """Store the latest progress of each (job id, attempt), except of jobs that the worker no longer holds."""
    ids, attempts = zip(*latest, strict=True)
    documents = [orjson.dumps(progress).decode() for progress in latest.values()]
    await db.fetch(_PROGRESS, list(ids), list(attempts), documents, worker, timeout_s=PROMPT_S)


REMOVE_WORKERS = """
WITH gone AS (DELETE FROM ledger.workers WHERE {which} RETURNING queue, heartbeat_at)
INSERT INTO ledger.queues (name, worker_seen_at) SELECT queue, max(heartbeat_at) FROM gone GROUP BY queue
ON CONFLICT (name) DO UPDATE SET worker_seen_at = greatest(queues.worker_seen_at, excluded.worker_seen_at)
"""
"""Removes workers, and records when their queue last had one."""


async def deregister(db: Database, worker: UUID) -> None:
    """Remove a worker process. The next `requeueing.recover` requeues the jobs that it still held."""
    await db.fetch(REMOVE_WORKERS.format(which="id = $1"), worker)

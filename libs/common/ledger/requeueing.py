"""Puts jobs back into the queue: due jobs and retries, jobs whose ticket was lost, jobs of dead workers.

Any number of dispatchers may run these statements at the same time: they skip each other's rows.
"""

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from libs.common.db import PROMPT_S, Database
from libs.common.ledger.claim import LEASE_S, REMOVE_WORKERS

POISON_AFTER_CRASHES = 3
"""A job that was running in this many workers when they died is considered the cause, and fails."""
RECOVERED_AT_ONCE = 5_000
"""The next round recovers the others."""

_PROMOTE = """
UPDATE ledger.jobs SET state = 'queued'
WHERE id IN (SELECT id FROM ledger.jobs WHERE state = 'scheduled' AND due_at <= now()
             ORDER BY due_at LIMIT 5000 FOR UPDATE SKIP LOCKED)
RETURNING id
"""


async def promote_due(db: Database) -> int:
    """Queue the scheduled jobs that are due. Return how many. Raises Unavailable."""
    return len(await db.fetch(_PROMOTE, timeout_s=PROMPT_S))


_REISSUE_LOST = """
UPDATE ledger.jobs SET ticketed_at = now()
WHERE id IN (SELECT id FROM ledger.jobs WHERE queue = $1 AND state = 'queued'
               AND ticketed_at < now() - ($2::float8 + $3::float8) * interval '1 second'
             ORDER BY ticketed_at LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING rank, id
"""


async def reissue_lost_tickets(
    db: Database, queue: str, oldest_age_s: float | None, slack_s: float, limit: int
) -> list[UUID]:
    """Find at most `limit` waiting jobs whose tickets were lost, mark them as ticketed now, and return their ids.

    The ids are in order of rank; the caller publishes the tickets. Tickets leave the stream in the order in which
    they were published. So a ticket older than the oldest one in the stream (None: it is empty) was taken or lost.
    Ages are compared, not times: the clocks of PostgreSQL and NATS differ. `slack_s` seconds allow for tickets in
    transit.
    """
    age_s = max(0.0, oldest_age_s or 0.0)
    rows = await db.fetch(_REISSUE_LOST, queue, age_s, slack_s, limit, timeout_s=PROMPT_S)
    return [row[1] for row in sorted(rows)]


_DEMAND = """
SELECT EXISTS (SELECT FROM ledger.jobs WHERE queue = $1 AND state = 'queued' AND ticketed_at IS NULL),
       (SELECT coalesce(sum(slots), 0)::int FROM ledger.workers WHERE queue = $1),
       q.paused_at IS NOT NULL, q.max_running, q.max_running_per_tenant, coalesce(q.shared_until > now(), false),
       (SELECT count(*)::int FROM ledger.workers WHERE queue = $1)
FROM (SELECT) one LEFT JOIN ledger.queues q ON q.name = $1
"""


@dataclass(slots=True, frozen=True)
class Demand:
    """The state of a queue that the dispatcher decides by."""

    backlog: bool
    """Whether there are waiting jobs without a ticket."""
    slots: int
    """How many jobs the live workers can run at the same time."""
    paused: bool
    max_running: int | None
    max_running_per_tenant: int | None
    shared: bool = False
    """Whether the slots are shared among tenants, because there are too few (sharing.py)."""
    workers: int = 0
    """How many live workers there are."""

    @property
    def capped(self) -> bool:
        """Whether a new job may have to wait although workers have free slots."""
        return self.shared or self.max_running is not None or self.max_running_per_tenant is not None

    @property
    def running_at_most(self) -> int | None:
        """How many jobs may run or have tickets; None: only the window decides.

        In a shared queue there are tickets for free slots only.
        """
        if not self.shared:
            return self.max_running
        return self.slots if self.max_running is None else min(self.slots, self.max_running)


async def demand(db: Database, queue: str) -> Demand:
    """The current state of `queue`. Raises Unavailable."""
    (row,) = await db.fetch(_DEMAND, queue, timeout_s=PROMPT_S)
    return Demand(*row)


_REMOVE_SILENT_WORKERS = REMOVE_WORKERS.format(which=f"heartbeat_at < now() - interval '{LEASE_S} seconds'")
_RECOVER = """
WITH stranded AS (
  SELECT id, crashes + 1 >= $1 AS poisonous, cancel_requested_at IS NOT NULL AS unwanted FROM ledger.jobs j
  WHERE state = 'running' AND NOT EXISTS (SELECT FROM ledger.workers w WHERE w.id = j.worker)
  LIMIT $2 FOR UPDATE SKIP LOCKED),
recovered AS (
  UPDATE ledger.jobs j SET
    worker = NULL, crashes = crashes + 1, ticketed_at = NULL,
    state = CASE WHEN unwanted THEN 'cancelled' WHEN poisonous THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN unwanted OR poisonous THEN now() END,
    errors = coalesce(errors, '[]') || jsonb_build_object(
      'at', now(), 'attempt', attempt, 'retryable', NOT poisonous,
      'code', CASE WHEN poisonous THEN 'poison' ELSE 'worker_lost' END,
      'message', CASE WHEN poisonous THEN 'The worker died ' || $1 || ' times while running this job.'
                      ELSE 'The worker died while running this job.' END)
  FROM stranded WHERE j.id = stranded.id
  RETURNING j.id, j.queue, j.finished_at, poisonous AND NOT unwanted AS poisoned),
entered AS (
  INSERT INTO ledger.entries (queue, what, amount)
  SELECT queue, 'ended', count(*) FROM recovered WHERE finished_at IS NOT NULL GROUP BY queue)
SELECT queue, poisoned FROM recovered
"""


@dataclass(slots=True, frozen=True)
class Recovered:
    """How many jobs were taken back from dead workers, and how many of these have failed as poison, by queue."""

    jobs: int
    poisoned: Counter[str]


async def recover(db: Database) -> Recovered:
    """Requeue up to RECOVERED_AT_ONCE jobs of dead workers. Raises Unavailable.

    A job with a requested cancel is cancelled. One that was running in POISON_AFTER_CRASHES dead workers fails.
    """
    await db.fetch(_REMOVE_SILENT_WORKERS, timeout_s=PROMPT_S)
    rows = await db.fetch(_RECOVER, POISON_AFTER_CRASHES, RECOVERED_AT_ONCE, timeout_s=PROMPT_S)
    return Recovered(len(rows), Counter(queue for queue, poisoned in rows if poisoned))

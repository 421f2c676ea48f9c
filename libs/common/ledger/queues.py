"""The state of each queue (jobs, workers, pause, caps), and how to pause or cap it."""

from typing import Any, Literal

from libs.common.db import PROMPT_S, Database
from libs.common.ledger.jobs import WAITS_SINCE

_PAUSE = """
INSERT INTO ledger.queues (name, paused_at) VALUES ($1, now())
ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(queues.paused_at, now())
"""
WITHDRAW_TICKETS = (
    "UPDATE ledger.jobs SET ticketed_at = NULL WHERE queue = $1 AND state = 'queued' AND ticketed_at IS NOT NULL"
)
"""Withdraws the tickets that are out: their jobs wait in the ledger, and claims with these tickets are refused."""
_CAP = """
INSERT INTO ledger.queues (name, {cap}) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET {cap} = excluded.{cap}
"""
# By the row as JSON, so that a gateway that comes before the column finds null.
_OFFERS = "SELECT to_jsonb(one) -> 'offers' FROM ledger.workers AS one WHERE queue = $1"
# One SELECT per partial index. Together these contain the unfinished jobs, and none that has ended.
LIVE = f"""
SELECT queue,
       count(*) FILTER (WHERE state = 'scheduled') AS scheduled,
       count(*) FILTER (WHERE state = 'queued') AS queued,
       count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state = 'waiting') AS waiting,
       min({WAITS_SINCE.format(job="live")}) FILTER (WHERE state = 'queued') AS oldest_waiting_at
FROM (
  SELECT queue, state, due_at, created_at FROM ledger.jobs WHERE state = 'scheduled'
  UNION ALL
  SELECT queue, state, due_at, created_at FROM ledger.jobs WHERE state = 'queued' AND ticketed_at IS NULL
  UNION ALL
  SELECT queue, state, due_at, created_at FROM ledger.jobs WHERE state = 'queued' AND ticketed_at IS NOT NULL
  UNION ALL
  SELECT queue, state, due_at, created_at FROM ledger.jobs WHERE state = 'running'
  UNION ALL
  SELECT queue, state, due_at, created_at FROM ledger.jobs WHERE state = 'waiting') live
GROUP BY queue
"""  # noqa: S608 - built from constants
"""Counts the unfinished jobs of each queue by state, so its cost grows with the backlog."""

_OVERVIEW = f"""
WITH live AS ({LIVE})
SELECT name, paused_at, max_running, max_running_per_tenant, worker_seen_at, oldest_waiting_at,
       coalesce(scheduled, 0) AS scheduled, coalesce(queued, 0) AS queued, coalesce(running, 0) AS running,
       coalesce(waiting, 0) AS waiting, ended_last_minute, workers, slots
FROM unnest($1::text[]) AS name
LEFT JOIN ledger.queues q USING (name)
LEFT JOIN live ON live.queue = name
CROSS JOIN LATERAL (
  SELECT count(*) AS ended_last_minute FROM ledger.jobs
  WHERE queue = name AND finished_at > now() - interval '1 minute') ended
CROSS JOIN LATERAL (
  SELECT count(*) AS workers, coalesce(sum(slots), 0)::int AS slots FROM ledger.workers w
  WHERE w.queue = name) working
"""  # noqa: S608 - built from constants


async def overview(db: Database, names: list[str]) -> list[dict[str, Any]]:
    """The facts about each queue of `names`. Raises Unavailable.

    It counts the unfinished jobs, so its cost grows with the backlog: do not call it in a loop.
    """
    return [dict(row) for row in await db.fetch(_OVERVIEW, names)]


async def pause(db: Database, name: str) -> None:
    """Start no more jobs of this queue. Running jobs continue. Raises Unavailable."""
    await db.fetch(_PAUSE, name)
    await db.fetch(WITHDRAW_TICKETS, name)


async def resume(db: Database, name: str) -> None:
    """End a pause. Raises Unavailable."""
    await db.fetch("UPDATE ledger.queues SET paused_at = NULL WHERE name = $1", name)


async def set_cap(
    db: Database, name: str, cap: Literal["max_running", "max_running_per_tenant"], value: int | None
) -> None:
    """Limit how many jobs may run at the same time on all workers (None: no limit but their slots).

    Tickets that are out are withdrawn, and published again within the cap. Raises Unavailable.
    """
    await db.fetch(_CAP.format(cap=cap), name, value)
    await db.fetch(WITHDRAW_TICKETS, name)


async def offers(db: Database, queue: str) -> list[dict[str, list[str]] | None]:
    """What each worker of `queue` offers; None: it does not say. Raises Unavailable."""
    rows = await db.fetch(_OFFERS, queue, timeout_s=PROMPT_S)
    return [row[0] for row in rows]

"""The position of one job in its queue, and the facts that explain why it is not running."""

from typing import Any
from uuid import UUID

from libs.common.db import Database
from libs.common.ledger import sharing
from libs.common.ledger.jobs import PROGRESS, State

COUNTED_AT_MOST = 10_000
"""Jobs ahead are counted up to this number."""

# Tenants take turns, and jobs of one tenant go by rank. So a job waits for the earlier jobs of its own tenant.
_POSITION = f"""
SELECT j.*, q.paused_at, q.max_running, q.max_running_per_tenant, q.worker_seen_at,
  coalesce(q.shared_until > now(), false) AS shared,
  (SELECT count(*) FROM ledger.workers v WHERE v.queue = j.queue) AS workers,
  (SELECT coalesce(sum(slots), 0)::int FROM ledger.workers v WHERE v.queue = j.queue) AS slots,
  CASE WHEN j.state = 'queued' AND j.ticketed_at IS NULL THEN (SELECT count(*) FROM (
    SELECT FROM ledger.jobs a WHERE a.queue = j.queue AND a.tenant = j.tenant AND a.state = 'queued'
      AND a.ticketed_at IS NULL AND a.rank < j.rank LIMIT {COUNTED_AT_MOST}) ahead) END AS ahead,
  CASE WHEN j.state = 'queued' THEN (SELECT count(*) FROM (
    SELECT FROM ledger.jobs a WHERE a.queue = j.queue AND a.state = 'queued'
      AND a.ticketed_at < coalesce(j.ticketed_at, 'infinity') LIMIT {COUNTED_AT_MOST}) out) END AS tickets_ahead,
  CASE WHEN j.state = 'queued' THEN (SELECT count(*) FROM ledger.jobs a
    WHERE a.queue = j.queue AND a.state = 'running') END AS running,
  CASE WHEN j.state = 'queued' THEN (SELECT count(*) FROM ledger.jobs a
    WHERE a.queue = j.queue AND a.tenant = j.tenant
      AND (a.state = 'running' OR (a.state = 'queued' AND a.ticketed_at IS NOT NULL))) END AS held,
  CASE WHEN j.state = 'queued' THEN ARRAY(SELECT id FROM ledger.jobs a
    WHERE a.queue = j.queue AND a.tenant = j.tenant
      AND (a.state = 'running' OR (a.state = 'queued' AND a.ticketed_at IS NOT NULL)) LIMIT 100) END AS holding,
  CASE WHEN j.state = 'waiting' THEN (SELECT c.progress ->> 'note' FROM ledger.jobs c
    WHERE c.parent = j.id AND c.finished_at IS NULL AND c.state = 'scheduled' AND c.progress ->> 'note' <> ''
    LIMIT 1) ELSE j.progress ->> 'note' END AS note
FROM (SELECT id, tenant, queue, state, attempt, failures, due_at, ticketed_at, started_at, finished_at, rank,
             worker, cancel_requested_at, coalesce(cardinality(preempted), 0) AS preempted,
             coalesce(attempt = ANY(preempted), false) AS gives_way, {PROGRESS}, errors -> -1 AS error,
             now() AS now
      FROM ledger.jobs WHERE id = $1 AND tenant = $2) j
LEFT JOIN ledger.queues q ON q.name = j.queue
"""  # noqa: S608 - built from constants


async def queue_position(db: Database, tenant: str, job_id: UUID) -> dict[str, Any] | None:
    """The facts about the position of a job, or None if there is no such job. Raises Unavailable."""
    rows = await db.fetch(_POSITION, job_id, tenant)
    if not rows:
        return None
    facts = dict(rows[0])
    if facts["state"] in (State.QUEUED, State.RUNNING):
        standing = await sharing.standing(db, facts["queue"])
        held = sum(job.tenant == tenant for job in standing.running)
        facts["share"] = {"slots": standing.share, "of": standing.capacity, "held": held}
    return facts

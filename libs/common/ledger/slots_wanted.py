"""How many slots each queue could use now: the number that its workers are scaled by.

The number of waiting jobs would be wrong: a paused or capped queue would get workers that have nothing to do.
"""

from collections.abc import Sequence

from libs.common.db import PROMPT_S, Database

COUNTED_AT_MOST = 2_000
"""Waiting jobs of a queue are counted up to this number, so that the cost does not grow with the backlog. No queue
has so many slots."""

# `held`: jobs that run or whose ticket is out. They are within the caps. To these come the waiting jobs of each
# tenant, found by a loose index scan as in picking.py, up to the tenant's cap.
_SLOTS_WANTED = f"""
WITH held AS MATERIALIZED (
  SELECT queue, tenant, count(*) FILTER (WHERE running) AS running, count(*) AS jobs FROM (
    SELECT queue, tenant, true AS running FROM ledger.jobs WHERE state = 'running'
    UNION ALL
    SELECT queue, tenant, false FROM ledger.jobs WHERE state = 'queued' AND ticketed_at IS NOT NULL) h
  GROUP BY queue, tenant)
SELECT name,
       CASE WHEN q.paused_at IS NULL THEN least(q.max_running, held.jobs + waiting.jobs) ELSE held.running END::int
FROM unnest($1::text[]) AS name
LEFT JOIN ledger.queues q USING (name)
CROSS JOIN LATERAL (
  SELECT coalesce(sum(running), 0) AS running, coalesce(sum(jobs), 0) AS jobs FROM held WHERE queue = name) held
CROSS JOIN LATERAL (
  WITH RECURSIVE tenants (tenant) AS (
    (SELECT tenant FROM ledger.jobs
     WHERE queue = name AND state = 'queued' AND ticketed_at IS NULL ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant FROM ledger.jobs j
            WHERE j.queue = name AND j.state = 'queued' AND j.ticketed_at IS NULL AND j.tenant > t.tenant
            ORDER BY j.tenant LIMIT 1)
    FROM tenants t WHERE t.tenant IS NOT NULL)
  SELECT count(*) AS jobs FROM (
    SELECT FROM tenants t
    LEFT JOIN held h ON h.queue = name AND h.tenant = t.tenant
    CROSS JOIN LATERAL (
      SELECT FROM ledger.jobs j
      WHERE j.queue = name AND j.tenant = t.tenant AND j.state = 'queued' AND j.ticketed_at IS NULL
      ORDER BY rank  -- so that the index is read in its order, and no further than the limit
      LIMIT CASE WHEN q.max_running_per_tenant IS NOT NULL  -- LIMIT NULL is none
                 THEN greatest(0, q.max_running_per_tenant - coalesce(h.jobs, 0)) END) one
    LIMIT {COUNTED_AT_MOST}) counted) waiting
"""  # noqa: S608 - built from constants


async def slots_wanted(db: Database, queues: Sequence[str]) -> dict[str, int]:
    """The slots that each of `queues` could use now: those in use, and one for each job that may start.

    A paused queue wants those in use. Caps bound the number. Jobs that are not due and jobs that wait for their
    children want none. Raises Unavailable.
    """
    return {row[0]: row[1] for row in await db.fetch(_SLOTS_WANTED, queues, timeout_s=PROMPT_S)}

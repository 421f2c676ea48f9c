"""Picks the waiting jobs that come next: round robin over tenants, and by rank within a tenant.

The cost does not grow with the backlog: every step is a lookup in the index (queue, tenant, rank) of waiting jobs.
"""

from collections import Counter
from typing import NamedTuple
from uuid import UUID

from libs.common.db import PROMPT_S, Connection, Database, fetch_within
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.requeueing import Demand

WINDOW_LARGEST = 20_000
"""The most tickets of a queue that may be out at the same time."""
TENANTS_AT_MOST = 1_000
"""The most tenants that one pick serves. The next pick continues with the others."""

# A loose index scan: it goes from each tenant directly to the next, however many jobs they have.
# https://wiki.postgresql.org/wiki/Loose_indexscan
_TENANTS = """
WITH RECURSIVE waiting (tenant) AS (
  (SELECT tenant FROM ledger.jobs
   WHERE queue = $1 AND state = 'queued' AND ticketed_at IS NULL AND tenant > $2 ORDER BY tenant LIMIT 1)
  UNION ALL
  SELECT (SELECT j.tenant FROM ledger.jobs j
          WHERE j.queue = $1 AND j.state = 'queued' AND j.ticketed_at IS NULL AND j.tenant > waiting.tenant
          ORDER BY j.tenant LIMIT 1)
  FROM waiting WHERE waiting.tenant IS NOT NULL)
SELECT tenant FROM waiting WHERE tenant IS NOT NULL AND ($3::text IS NULL OR tenant <= $3) LIMIT $4
"""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('pick ' || $1, 0))"
_HELD = """
SELECT tenant, count(*)::int FROM (
  SELECT tenant FROM ledger.jobs WHERE state = 'running' AND queue = $1
  UNION ALL
  SELECT tenant FROM ledger.jobs WHERE state = 'queued' AND queue = $1 AND ticketed_at IS NOT NULL) held
GROUP BY tenant
"""
PICK = f"""
UPDATE ledger.jobs j SET ticketed_at = now()
FROM (
  SELECT id, row_number() OVER (PARTITION BY t.place ORDER BY candidate.rank) AS turn, t.place
  FROM unnest($2::text[], $3::int[]) WITH ORDINALITY AS t (tenant, room, place)
  CROSS JOIN LATERAL (
    SELECT id, rank FROM ledger.jobs
    WHERE queue = $1 AND tenant = t.tenant AND state = 'queued' AND ticketed_at IS NULL
    ORDER BY rank LIMIT t.room FOR UPDATE SKIP LOCKED) candidate
  ORDER BY turn, place LIMIT $4) picked
WHERE j.id = picked.id AND {LAZILY}
RETURNING picked.turn, picked.place, j.id, j.tenant
"""  # noqa: S608 - built from constants


class Picked(NamedTuple):
    """The ids of the picked jobs in order, and the tenant after which the next pick continues."""

    ids: list[UUID]
    last: str


async def pick(db: Database, queue: str, wanted: int, demand: Demand, *, after: str = "") -> Picked:
    """Mark up to `wanted` waiting jobs as ticketed, beginning with the tenant after `after`.

    The caller publishes the tickets. Caps count tickets as running jobs, so running jobs never exceed a cap. Only
    one dispatcher picks from a queue at a time; the others get an empty result. Raises Unavailable.
    """
    async with db.begin(timeout_s=PROMPT_S) as connection:
        if not (await fetch_within(connection, _LOCK, queue))[0][0]:
            return Picked([], after)
        held: dict[str, int] = {}
        if demand.capped:
            held = {row[0]: row[1] for row in await fetch_within(connection, _HELD, queue)}
        if demand.max_running is not None:
            wanted = min(wanted, demand.max_running - sum(held.values()))
        # With a cap per tenant, some may have no room: look at more tenants than can be served.
        looked_at = TENANTS_AT_MOST if demand.max_running_per_tenant is not None else min(wanted, TENANTS_AT_MOST)
        tenants = await _next_tenants(connection, queue, after, looked_at if wanted > 0 else 0)
        if not tenants:
            return Picked([], after)
        rooms = {tenant: _room(demand, held.get(tenant, 0)) for tenant in tenants}
        served = [tenant for tenant in tenants if rooms[tenant]][:wanted]
        last = served[-1] if len(served) == wanted else tenants[-1]
        return Picked(await _share_out(connection, queue, wanted, {t: rooms[t] for t in served}), last)


async def _share_out(connection: Connection, queue: str, wanted: int, left: dict[str, int]) -> list[UUID]:
    """Pick `wanted` jobs in equal shares per tenant. Shares that are not used up go to the other tenants.

    `left`: how many more jobs each tenant may get.
    """
    ids: list[UUID] = []
    while left and wanted > 0:
        share = -(-wanted // len(left))
        shares = {tenant: min(share, room) for tenant, room in left.items()}
        picked = sorted(await fetch_within(connection, PICK, queue, list(shares), list(shares.values()), wanted))
        ids += [row[2] for row in picked]
        wanted -= len(picked)
        took = Counter(row[3] for row in picked)
        left = {
            tenant: left[tenant] - took[tenant]
            for tenant in left
            if took[tenant] == shares[tenant] and left[tenant] > took[tenant]
        }
    return ids


def _room(demand: Demand, held: int) -> int:
    cap = demand.max_running_per_tenant
    return WINDOW_LARGEST if cap is None else max(0, cap - held)


async def _next_tenants(connection: Connection, queue: str, after: str, limit: int) -> list[str]:
    """Up to `limit` tenants with waiting jobs, in order, from the one after `after`, wrapping around once."""
    if limit <= 0:
        return []
    rows = await fetch_within(connection, _TENANTS, queue, after, None, limit)
    if len(rows) < limit and after:
        rows += await fetch_within(connection, _TENANTS, queue, "", after, limit - len(rows))
    return [row[0] for row in rows]

"""Picks the waiting jobs that come next: round robin over tenants, and by rank within a tenant.

While a queue is shared (sharing.py), slots are handed out one by one, each to the tenant that holds the fewest.
The cost does not grow with the backlog: every step is a lookup in the index (queue, tenant, rank) of waiting jobs.
"""

from collections import Counter
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple
from uuid import UUID

from libs.common.db import PROMPT_S, Connection, Database, fetch_within
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.requeueing import Demand

WINDOW_LARGEST = 20_000
"""The most tickets of a queue that may be out at the same time."""
TENANTS_AT_MOST = 1_000
"""The most tenants that one pick serves. The next pick continues with the others."""
PREEMPTED_AT_MOST = 3
"""A job that gave way so often runs on, and its tenant is confined to one slot while others wait."""

# A loose index scan: it goes from each tenant directly to the next, however many jobs they have.
# https://wiki.postgresql.org/wiki/Loose_indexscan
WAITING_TENANTS = """
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
"""Up to $4 tenants with waiting jobs of queue $1, in order, after $2 up to $3 (null: up to the last)."""
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('pick ' || $1, 0))"
_HELD = f"""
SELECT tenant, count(*)::int, bool_or(settled) FROM (
  SELECT tenant, coalesce(cardinality(preempted) >= {PREEMPTED_AT_MOST}, false) AS settled
  FROM ledger.jobs WHERE state = 'running' AND queue = $1
  UNION ALL
  SELECT tenant, false FROM ledger.jobs WHERE state = 'queued' AND queue = $1 AND ticketed_at IS NOT NULL) held
GROUP BY tenant
"""  # noqa: S608 - built from constants
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
        if not await lock(connection, queue):
            return Picked([], after)
        held: dict[str, int] = {}
        settled: set[str] = set()
        if demand.capped:
            rows = await fetch_within(connection, _HELD, queue)
            held = {row[0]: row[1] for row in rows}
            settled = {row[0] for row in rows if row[2]}
        if demand.running_at_most is not None:
            wanted = min(wanted, demand.running_at_most - sum(held.values()))
        tenants = await _next_tenants(connection, queue, after, _looked_at(demand, wanted, held))
        if not tenants:
            return Picked([], after)
        rooms = {name: room for name in tenants if (room := _room(demand, held.get(name, 0)))}
        holds = None
        if demand.shared:
            holds = Counter({name: number + demand.slots * (name in settled) for name, number in held.items()})
            served = [*hand_out(holds, rooms, wanted)]
        else:
            served = [*rooms][:wanted]
            rooms = {name: rooms[name] for name in served}
        last = served[-1] if len(served) == wanted else tenants[-1]
        return Picked(await _share_out(connection, queue, wanted, rooms, holds), last)


async def lock(connection: Connection, queue: str) -> bool:
    """Lock `queue` for the rest of the transaction, against other dispatchers. False if another one has it."""
    return bool((await fetch_within(connection, _LOCK, queue))[0][0])


def hand_out(holds: Mapping[str, int], rooms: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many of `wanted` slots each tenant gets, if each slot goes to the one that then holds the fewest.

    `rooms`: how many more each may get. Those without any are left out. A tie is for the earlier one in `rooms`.
    """
    heap = [(holds.get(name, 0), place, name) for place, name in enumerate(rooms) if rooms[name] > 0]
    heapify(heap)
    given = Counter[str]()
    while heap and wanted > 0:
        number, place, name = heappop(heap)
        given[name] += 1
        wanted -= 1
        if given[name] < rooms[name]:
            heappush(heap, (number + 1, place, name))
    return {name: given[name] for name in rooms if given[name]}


async def _share_out(
    connection: Connection, queue: str, wanted: int, left: dict[str, int], holds: Counter[str] | None
) -> list[UUID]:
    """Pick `wanted` jobs. Shares that are not used up go to the other tenants.

    `left`: how many more jobs each tenant may get. `holds`: how many it has, if slots are handed out one by one;
    None: equal shares.
    """
    ids: list[UUID] = []
    while left and wanted > 0:
        if holds is None:
            share = -(-wanted // len(left))
            shares = {name: min(share, room) for name, room in left.items()}
        else:
            shares = hand_out(holds, left, wanted)
        picked = sorted(await fetch_within(connection, PICK, queue, list(shares), list(shares.values()), wanted))
        ids += [row[2] for row in picked]
        wanted -= len(picked)
        took = Counter(row[3] for row in picked)
        left = {
            name: left[name] - took[name]
            for name in left
            if took[name] == shares.get(name, 0) and left[name] > took[name]
        }
        holds = None if holds is None else holds + took
    return ids


def _looked_at(demand: Demand, wanted: int, held: Mapping[str, int]) -> int:
    """At how many tenants to look so that `wanted` can be served: some may have no room, or hold too many."""
    if wanted <= 0:
        return 0
    if demand.max_running_per_tenant is not None:
        return TENANTS_AT_MOST
    return min(wanted + len(held) * demand.shared, TENANTS_AT_MOST)


def _room(demand: Demand, held: int) -> int:
    cap = demand.max_running_per_tenant
    return WINDOW_LARGEST if cap is None else max(0, cap - held)


async def _next_tenants(connection: Connection, queue: str, after: str, limit: int) -> list[str]:
    """Up to `limit` tenants with waiting jobs, in order, from the one after `after`, wrapping around once."""
    if limit <= 0:
        return []
    rows = await fetch_within(connection, WAITING_TENANTS, queue, after, None, limit)
    if len(rows) < limit and after:
        rows += await fetch_within(connection, WAITING_TENANTS, queue, "", after, limit - len(rows))
    return [row[0] for row in rows]

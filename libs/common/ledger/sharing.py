"""Shares the slots of a queue among its tenants while there are too few, and decides which jobs give way.

Turns are fair only while jobs are short. So when no slot is free and a tenant with less than its share has waited
WAITED_S, the queue is shared until nobody has had to wait for LINGERS_S: the tickets that are out are withdrawn,
and there are tickets for free slots only, each for the tenant that holds the fewest (picking.py). If no slot
becomes free, the youngest job of the tenant farthest beyond its share is asked to give way. Its worker gives it
back as at a shutdown, so it costs no retry.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID

from libs.common.db import PROMPT_S, Connection, Database, fetch_within
from libs.common.ledger.by_id import in_state
from libs.common.ledger.durability import LAZILY
from libs.common.ledger.jobs import WAITS_SINCE, State
from libs.common.ledger.picking import PREEMPTED_AT_MOST, WAITING_TENANTS, lock
from libs.common.ledger.queues import WITHDRAW_TICKETS
from libs.common.ledger.requeueing import Demand, demand

WAITED_S = 5.0
"""How long a job of a tenant with less than its share waits before others give way."""
LINGERS_S = 10.0
"""How long a queue stays shared after it was last seen that tenants need more slots than there are."""
LONG_S = 1.0
"""Jobs that end sooner hold nobody up: among them, turns are fair and faster."""


class Running(NamedTuple):
    """A running attempt.

    `preempted`: how many attempts of the job were asked to give way. `asked`: whether this one was, or is to stop
    because of a cancel.
    """

    id: UUID
    attempt: int
    tenant: str
    ran_s: float
    preempted: int
    asked: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What the tenants of a queue hold and want at one moment."""

    capacity: int
    """How many jobs may run: the slots of living workers, or the queue's cap if that is less."""
    tenant_cap: int | None
    running: Sequence[Running]
    waited_s: Mapping[str, float]
    """The seconds that the next job of each tenant has waited; of tenants without waiting jobs, none."""

    @property
    def tenants(self) -> int:
        """How many run or wait."""
        return len({job.tenant for job in self.running} | self.waited_s.keys())

    @property
    def share(self) -> int:
        """The slots that each tenant has a right to while others wait."""
        share = max(1, self.capacity // max(1, self.tenants))
        return share if self.tenant_cap is None else min(share, self.tenant_cap)

    @property
    def is_full(self) -> bool:
        """Whether no slot is free, and not only short jobs hold them."""
        return len(self.running) >= self.capacity and any(job.ran_s >= LONG_S for job in self.running)

    @property
    def is_contended(self) -> bool:
        """Whether several tenants want more slots than there are, for jobs that are not short."""
        return self.is_full and bool(self.waited_s) and self.tenants > 1

    @property
    def starving(self) -> list[str]:
        """The tenants that hold less than their share and have waited too long for more."""
        held, right = self._held(), self._right()
        return [name for name, s in self.waited_s.items() if s >= WAITED_S and held[name] < right(name)]

    def give_way(self) -> list[Running]:
        """The attempts to ask, so that each starving tenant gets a slot. Those asked before count as ended."""
        held, right, chosen = self._held(), self._right(), list[Running]()
        ran_s = defaultdict[str, float](float)
        for job in self.running:
            ran_s[job.tenant] += job.ran_s
        free = max(0, self.capacity - held.total())
        able = sorted((job for job in self.running if _may_be_asked(job)), key=lambda job: job.ran_s)
        for _ in range(len(self.starving) - free):
            beyond = [job for job in able if held[job.tenant] > right(job.tenant)]
            if not beyond:
                break
            job = max(beyond, key=lambda job: (held[job.tenant] - right(job.tenant), ran_s[job.tenant]))
            held[job.tenant] -= 1
            able.remove(job)
            chosen.append(job)
        return chosen

    def _held(self) -> Counter[str]:
        return Counter(job.tenant for job in self.running if not job.asked)

    def _right(self) -> Callable[[str], int]:
        """How many slots a tenant has a right to: its share, or one if a job of it runs on that gave way often."""
        settled = {job.tenant for job in self.running if _is_settled(job)}
        return lambda name: 1 if name in settled else self.share


def _is_settled(job: Running) -> bool:
    """Whether the job runs on, as it has given way often enough."""
    return job.preempted >= PREEMPTED_AT_MOST and not job.asked


def _may_be_asked(job: Running) -> bool:
    return job.preempted < PREEMPTED_AT_MOST and not job.asked


_RUNNING = """
SELECT id, attempt, tenant, extract(epoch FROM now() - started_at)::float8,
       coalesce(cardinality(preempted), 0),
       cancel_requested_at IS NOT NULL OR coalesce(attempt = ANY(preempted), false)
FROM ledger.jobs WHERE state = 'running' AND queue = $1
"""
_WAITING = f"""
SELECT tenant, coalesce(max(waited_s), 0)::float8 FROM (
  SELECT t.tenant, extract(epoch FROM now() - (
    SELECT {WAITS_SINCE.format(job="j")} FROM ledger.jobs j
    WHERE j.queue = $1 AND j.tenant = t.tenant AND j.state = 'queued' AND j.ticketed_at IS NULL
    ORDER BY j.rank LIMIT 1)) AS waited_s
  FROM ({WAITING_TENANTS}) t
  UNION ALL
  SELECT tenant, extract(epoch FROM now() - min(ticketed_at)) FROM ledger.jobs
  WHERE queue = $1 AND state = 'queued' AND ticketed_at IS NOT NULL GROUP BY tenant) waiting
GROUP BY tenant
"""  # noqa: S608 - built from constants
_SHARE = """
INSERT INTO ledger.queues (name, shared_until) VALUES ($1, now() + $2::float8 * interval '1 second')
ON CONFLICT (name) DO UPDATE SET shared_until = excluded.shared_until
WHERE queues.shared_until IS NULL OR queues.shared_until < excluded.shared_until - interval '1 second'
"""
_ASK = f"""
UPDATE ledger.jobs j SET preempted = array_append(j.preempted, j.attempt)
FROM unnest($1::uuid[], $2::int[]) AS u (id, attempt)
WHERE j.id = u.id AND j.attempt = u.attempt AND {in_state(State.RUNNING, "j")}
  AND j.cancel_requested_at IS NULL AND {LAZILY}
RETURNING j.id, j.attempt
"""  # noqa: S608


class Balanced(NamedTuple):
    """Whether the queue is shared from now on (`begun`), and the attempts (id, number) `asked` to give way."""

    begun: bool = False
    asked: Sequence[tuple[UUID, int]] = ()


async def balance(db: Database, queue: str, now: Demand, *, preempting: bool = True) -> Balanced:
    """Share `queue`, whose state is `now`, among its tenants while that is needed.

    The caller tells the workers which attempts are to give way. There are none in the round that begins it, as the
    withdrawn tickets may be enough. Only one dispatcher does this at a time. Raises Unavailable.
    """
    async with db.begin(timeout_s=PROMPT_S) as connection:
        if not await lock(connection, queue):
            return Balanced()
        seen = await _look(connection, queue, now, hurried=True)
        if not now.shared:
            if not (seen.is_contended and seen.starving):
                return Balanced()
            await fetch_within(connection, _SHARE, queue, LINGERS_S)
            await fetch_within(connection, WITHDRAW_TICKETS, queue)
            return Balanced(begun=True)
        if seen.is_contended:
            await fetch_within(connection, _SHARE, queue, LINGERS_S)
        wanted = seen.give_way() if preempting else []
        if not wanted:
            return Balanced()
        rows = await fetch_within(connection, _ASK, [job.id for job in wanted], [job.attempt for job in wanted])
        return Balanced(asked=[(row[0], row[1]) for row in rows])


async def standing(db: Database, queue: str) -> Standing:
    """The standing of the tenants of `queue` now. Raises Unavailable."""
    wanted = await demand(db, queue)
    async with db.begin(timeout_s=PROMPT_S) as connection:
        return await _look(connection, queue, wanted, hurried=False)


async def _look(connection: Connection, queue: str, now: Demand, *, hurried: bool) -> Standing:
    """With more tenants than slots, not all that wait are looked at: each has a share of one slot.

    `hurried`: who waits is not looked at while no long job fills the slots.
    """
    capacity = now.slots if now.max_running is None else min(now.slots, now.max_running)
    running = [Running(*row) for row in await fetch_within(connection, _RUNNING, queue)]
    seen = Standing(capacity, now.max_running_per_tenant, running, {})
    if hurried and not seen.is_full:
        return seen
    rows = await fetch_within(connection, _WAITING, queue, "", None, capacity + 1)
    return replace(seen, waited_s={row[0]: row[1] for row in rows})

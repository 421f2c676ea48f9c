"""One decision per request: by Redis, by this gateway's share, or by both (outages.py decides which)."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple
from uuid import uuid4

from redis.asyncio import Redis

from libs.common import metrics
from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.errors import Unavailable
from services.gateway.limits.decisions import Decision, HeldSlot, LimitStatus, refused
from services.gateway.limits.memory import Admission, Memory
from services.gateway.limits.outages import Mode, Outages
from services.gateway.limits.policies import Charge, Charges
from services.gateway.limits.shared import Granted, Group, Lost, Shared, Wiped

DECIDED_AT_A_TIME = 200
"""Requests in one run of the script: Redis does nothing else meanwhile."""
OVER_AT_MOST = 10_000


class _Over(NamedTuple):
    limit_text: str
    until: float


class _GroupResult(NamedTuple):
    """The result for a group; `prefix` begins the names of its admissions in Redis."""

    admitted: int
    statuses: tuple[LimitStatus, ...]
    prefix: str

    def decisions(self, group: Group) -> list[Decision]:
        """One decision for each request of the group, in the order they came."""
        fields, statuses = group.charges.fields, self.statuses
        refused = group.count - self.admitted
        if group.charges.holds_slots:
            admitted = [
                Decision(True, statuses, slots=self._slots(group.charges, turn), fields=fields)
                for turn in range(self.admitted)
            ]
        else:
            admitted = [Decision(True, statuses, fields=fields)] * self.admitted
        violated = tuple([s.policy.name for s in statuses if _refuses(s)])
        return admitted + [Decision(False, statuses, violated, fields=fields)] * refused

    def _slots(self, charges: Charges, turn: int) -> tuple[HeldSlot, ...]:
        return tuple(HeldSlot(key, f"{self.prefix}:{turn}") for policy, key in charges if policy.at_once)


class Limiter:
    """Decides many requests at a time. `budget_s` is the timeout for Redis in seconds."""

    def __init__(self, redis: Redis, bus: Bus, *, budget_s: float) -> None:
        self.gateway = uuid4().hex[:12]
        self._shared = Shared(redis, gateway=self.gateway, budget_s=budget_s)
        self._memory = Memory()
        self._outages = Outages(self.gateway, self._shared, self._memory, bus)
        self._deciding: Batcher[Charges, Decision] = Batcher(self._decide, max_size=DECIDED_AT_A_TIME)
        self._giving_back: Batcher[HeldSlot, None] = Batcher(self._give_back)
        self._over: OrderedDict[str, _Over] = OrderedDict()
        self._batches = 0
        self._stopped = False

    @property
    def mode(self) -> Mode:
        """Who decides now: Redis, this gateway's share, or both."""
        return self._outages.mode

    @property
    def eviction(self) -> str | None:
        """Redis's maxmemory-policy, if it is known. With any but `noeviction` it may forget what counts."""
        return self._shared.health.eviction

    async def take(self, charges: Charges) -> Decision:
        """Charge one request with all of `charges`, or with none and say which policies refuse it.

        Raises Unavailable after a stop: no connection to Redis may be opened then.
        """
        if not charges:
            return Decision(admitted=True)
        if self._stopped:
            raise Unavailable("This gateway has stopped.")
        if refusal := self.refusal(charges):
            return refusal
        deciding = self._deciding(charges)
        if not charges.holds_slots:
            return await deciding
        try:
            return await asyncio.shield(deciding)
        except asyncio.CancelledError:  # the caller has gone: slots granted to it must not stay taken
            deciding.add_done_callback(self._give_back_unclaimed)
            raise

    async def status(self, charges: Charges) -> tuple[LimitStatus, ...]:
        """What remains under each policy of `charges`. Charges nothing."""
        if not charges:
            return ()
        return (await self._decide_groups([Group(charges, 0)]))[0].statuses

    async def reachable(self) -> bool:
        """Whether Redis replies now."""
        try:
            await self._outages.send_check_in()
        except Lost:
            return False
        return True

    def give_back(self, decision: Decision) -> None:
        """Release the slots of a request that has ended. After a stop they expire by themselves."""
        for slot in () if self._stopped else decision.slots:
            self._giving_back(slot)

    def _give_back_unclaimed(self, deciding: "asyncio.Future[Decision]") -> None:
        if not deciding.cancelled() and deciding.exception() is None:
            self.give_back(deciding.result())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay in contact with Redis and the other gateways while the block runs."""
        try:
            async with self._outages.watched():
                try:
                    yield
                finally:
                    self._stopped = True
                    await self._deciding.drain()
                    await self._giving_back.drain()
        finally:
            await self._shared.settled()

    def refusal(self, charges: Charges) -> Decision | None:
        """A refusal if one of the counters is known to be over its limit, without asking Redis; otherwise None."""
        if not self._over:
            return None
        now = time.monotonic()
        violated = []
        for position, (policy, key) in enumerate(charges):
            over = self._over.get(key)
            if over is not None and over.until > now and over.limit_text == policy.limit_text:
                violated.append((position, math.ceil(over.until - now)))
                _decided(policy.name, "refused").inc()
        return refused(charges, violated) if violated else None

    async def _decide(self, requests: list[Charges]) -> list[Decision]:
        groups: dict[tuple[str, ...], Group] = {}
        order = []
        for charges in requests:
            group = groups.get(charges.name)
            if group is None:
                group = groups[charges.name] = Group(charges, 0)
            order.append((charges.name, group.count))
            group.count += 1
        granted = await self._decide_groups(list(groups.values()))
        decided = {}
        for (name, group), result in zip(groups.items(), granted, strict=True):
            _measure(group.count, result.admitted, result.statuses)
            decided[name] = result.decisions(group)
        return [decided[name][turn] for name, turn in order]

    async def _decide_groups(self, groups: Sequence[Group]) -> list[_GroupResult]:
        """One result for each group. A `count` of 0 only reads what remains."""
        self._batches += 1
        prefix = f"{self.gateway}:{self._batches}"
        if self.mode is Mode.ALONE:
            await self._outages.wait_for_reports()
            return self._results(groups, None, self._decide_by_share(groups, prefix), prefix)
        by_share = None
        if self.mode is Mode.RETURNING:
            by_share = self._decide_by_share(groups, prefix, in_redis=True)
        requested = groups
        if by_share is not None:  # Redis decides only about what fits the share
            requested = [Group(g.charges, fits.admitted) for g, fits in zip(groups, by_share, strict=True)]
        try:
            async with self._outages.redis_lock:
                now_us, granted = await self._shared.take(requested, prefix)
                self._remember_granted(requested, granted, prefix, now_us, by_share)
        except (Lost, Wiped) as error:
            await self._outages.lose(error)
            if by_share is None:
                by_share = self._decide_by_share(groups, prefix)
            else:
                self._mark_unknown_to_redis(groups, by_share, prefix)
            await self._release_late_charges(groups, by_share, prefix)
            return self._results(groups, None, by_share, prefix)
        return self._results(requested, by_share, granted, prefix)

    async def _release_late_charges(
        self, groups: Sequence[Group], by_share: Sequence[Granted], prefix: str
    ) -> None:
        """Remove from Redis what the share refused: a command that timed out may still be carried out there."""
        late = [
            HeldSlot(key, f"{prefix}:{number}:{turn}")
            for number, (group, granted) in enumerate(zip(groups, by_share, strict=True))
            for policy, key in group.charges
            for turn in range(granted.admitted, group.count)
            if policy.exact
        ]
        await self._outages.give_back(late)

    def _mark_unknown_to_redis(self, groups: Sequence[Group], by_share: Sequence[Granted], prefix: str) -> None:
        """Keep what the share admitted, but as unknown to Redis, which must be given it later."""
        for number, (group, granted) in enumerate(zip(groups, by_share, strict=True)):
            if granted.admitted:
                name, now_us = f"{prefix}:{number}", self._shared.clock.latest_us()
                for charge in group.charges:
                    self._memory.take_back(charge, name, granted.admitted)
                self._admit(group.charges, granted.admitted, name, now_us, in_redis=False)

    def _decide_by_share(self, groups: Sequence[Group], prefix: str, *, in_redis: bool = False) -> list[Granted]:
        """Grant what fits this gateway's share. `in_redis`: Redis decides too, and so will know the admissions."""
        clock, gateways = self._shared.clock, self._outages.gateways
        granted = []
        for number, (charges, wanted) in enumerate((group.charges, group.count) for group in groups):
            left = [self._memory.share(charge, clock.earliest_us(), gateways) for charge in charges]
            enforced = [
                places_left
                for charge, (places_left, _) in zip(charges, left, strict=True)
                if not charge.policy.shadow
            ]
            count = max(0, min([wanted, *enforced]))
            if count:
                self._admit(charges, count, f"{prefix}:{number}", clock.latest_us(), in_redis=in_redis)
                left = [(left_count - count, free_us) for left_count, free_us in left]
            granted.append(Granted(count, left))
        return granted

    def _admit(self, charges: Charges, count: int, prefix: str, now_us: int, *, in_redis: bool) -> None:
        for charge in charges:
            if charge.policy.at_once:  # slots are released one by one
                for number in range(count):
                    self._memory.add(charge, Admission(now_us, 1, prefix, number, in_redis))
            else:
                self._memory.add(charge, Admission(now_us, count, prefix, 0, in_redis))

    def _remember_granted(
        self,
        groups: Sequence[Group],
        granted: Sequence[Granted],
        prefix: str,
        now_us: int,
        by_share: Sequence[Granted] | None,
    ) -> None:
        """Remember what Redis granted. If the share had granted more, undo the difference."""
        for number, (group, grant) in enumerate(zip(groups, granted, strict=True)):
            if by_share is not None:
                for charge in group.charges:
                    self._memory.take_back(
                        charge, f"{prefix}:{number}", by_share[number].admitted - grant.admitted
                    )
            elif grant.admitted:
                self._admit(group.charges, grant.admitted, f"{prefix}:{number}", now_us, in_redis=True)
            for charge, (remaining, free_us) in zip(group.charges, grant.left, strict=True):
                self._memory.note_remaining(charge, remaining, now_us)
                refuses = remaining <= 0 and grant.admitted < group.count
                if refuses and not (charge.policy.at_once or charge.policy.shadow):
                    self._note_over(charge, free_us)

    def _note_over(self, charge: Charge, free_us: int) -> None:
        self._over[charge.key] = _Over(charge.policy.limit_text, time.monotonic() + free_us / 1e6)
        self._over.move_to_end(charge.key)
        if len(self._over) > OVER_AT_MOST:
            self._over.popitem(last=False)

    def _results(
        self, groups: Sequence[Group], by_share: Sequence[Granted] | None, granted: Sequence[Granted], prefix: str
    ) -> list[_GroupResult]:
        results = []
        for number, (group, grant) in enumerate(zip(groups, granted, strict=True)):
            statuses = []
            for position, (charge, (remaining, free_us)) in enumerate(zip(group.charges, grant.left, strict=True)):
                if by_share is not None:
                    remaining = min(remaining, by_share[number].left[position][0])
                    free_us = max(free_us, by_share[number].left[position][1])
                statuses.append(LimitStatus(charge.policy, remaining, max(1, math.ceil(free_us / 1e6))))
            results.append(_GroupResult(grant.admitted, tuple(statuses), f"{prefix}:{number}"))
        return results

    async def _give_back(self, slots: list[HeldSlot]) -> list[None]:
        for key, member in slots:
            prefix, _, number = member.rpartition(":")
            self._memory.released(key, prefix, int(number))
        await self._outages.give_back(slots)
        return [None] * len(slots)


def _refuses(status: LimitStatus) -> bool:
    return status.remaining <= 0 and not status.policy.shadow


def _measure(requested: int, admitted: int, statuses: Sequence[LimitStatus]) -> None:
    for policy, remaining, _ in statuses:
        if admitted:
            _decided(policy.name, "admitted").inc(admitted)
        if remaining > 0:
            continue
        if not policy.shadow and admitted < requested:
            _decided(policy.name, "refused").inc(requested - admitted)
        elif policy.shadow and remaining < 0:
            _decided(policy.name, "would_refuse").inc(-remaining)


@cache
def _decided(policy: str, decision: str) -> Any:
    """The counter of such decisions; to look it up takes as long as to count."""
    return metrics.limit_decisions.labels(policy, decision)

"""One decision for each request: by Redis, by this gateway's share, or by both (see outages.py for when)."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
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
"""Requests in one script: Redis does nothing else meanwhile."""
OVER_AT_MOST = 10_000


class _Over(NamedTuple):
    figure: str
    until: float


class _Answer(NamedTuple):
    """Of a group: how many are admitted, how its subjects stand, and how its admissions are named in Redis."""

    admitted: int
    statuses: tuple[LimitStatus, ...]
    prefix: str

    def decisions(self, group: Group) -> list[Decision]:
        """One for each request of the group, in the order they came."""
        fields, statuses = group.charges.fields, self.statuses
        refused = group.count - self.admitted
        if group.charges.holds_places:
            let_in = [
                Decision(True, statuses, places=self._places(group.charges, turn), fields=fields)
                for turn in range(self.admitted)
            ]
        else:
            let_in = [Decision(True, statuses, fields=fields)] * self.admitted
        violated = tuple([s.policy.name for s in statuses if _refuses(s)])
        return let_in + [Decision(False, statuses, violated, fields=fields)] * refused

    def _places(self, charges: Charges, turn: int) -> tuple[HeldSlot, ...]:
        return tuple(HeldSlot(key, f"{self.prefix}:{turn}") for policy, key in charges if policy.at_once)


class Limiter:
    """Decides, many requests at a time. `budget_s`: how long Redis may take."""

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
        """Who decides at this moment."""
        return self._outages.mode

    async def take(self, charges: Charges) -> Decision:
        """Charge one request with all of `charges`, or with none and say which refuse it.

        Raises Unavailable after a stop: nobody may open a connection to Redis then.
        """
        if not charges:
            return Decision(admitted=True)
        if self._stopped:
            raise Unavailable("This gateway has stopped.")
        if refusal := self.refusal(charges):
            return refusal
        deciding = self._deciding(charges)
        if not charges.holds_places:
            return await deciding
        try:
            return await asyncio.shield(deciding)
        except asyncio.CancelledError:  # the caller has gone: what was granted must not stay taken
            deciding.add_done_callback(self._give_back_unclaimed)
            raise

    async def status(self, charges: Charges) -> tuple[LimitStatus, ...]:
        """How the subjects of `charges` stand. Charges nothing."""
        if not charges:
            return ()
        return (await self._decide_groups([Group(charges, 0)]))[0].statuses

    async def reachable(self) -> bool:
        """Whether Redis answers, now."""
        try:
            await self._outages.ask_who_is_there()
        except Lost:
            return False
        return True

    def give_back(self, decision: Decision) -> None:
        """The request has ended: the places it held are free. After a stop they become so by themselves."""
        for place in () if self._stopped else decision.places:
            self._giving_back(place)

    def _give_back_unclaimed(self, deciding: "asyncio.Future[Decision]") -> None:
        if not deciding.cancelled() and deciding.exception() is None:
            self.give_back(deciding.result())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep in touch with Redis and the other gateways while the block runs."""
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
        """The refusal of a request with a key that is known to be over its limit; None: nobody knows of one."""
        if not self._over:
            return None
        now = time.monotonic()
        violated = []
        for position, (policy, key) in enumerate(charges):
            over = self._over.get(key)
            if over is not None and over.until > now and over.figure == policy.figure:
                violated.append((position, math.ceil(over.until - now)))
                metrics.limit_decisions.labels(policy.name, "refused").inc()
        return refused(charges, violated) if violated else None

    async def _decide(self, asked: list[Charges]) -> list[Decision]:
        groups: dict[tuple[str, ...], Group] = {}
        order = []
        for charges in asked:
            group = groups.get(charges.name)
            if group is None:
                group = groups[charges.name] = Group(charges, 0)
            order.append((charges.name, group.count))
            group.count += 1
        granted = await self._decide_groups(list(groups.values()))
        decided = {}
        for (name, group), answer in zip(groups.items(), granted, strict=True):
            _measure(group.count, answer.admitted, answer.statuses)
            decided[name] = answer.decisions(group)
        return [decided[name][turn] for name, turn in order]

    async def _decide_groups(self, groups: Sequence[Group]) -> list[_Answer]:
        """For each group how many are admitted, how its subjects stand, and how its admissions are named."""
        self._batches += 1
        prefix = f"{self.gateway}:{self._batches}"
        if self.mode is Mode.ALONE:
            await self._outages.told()
            return self._answers(groups, None, self._decide_by_share(groups, prefix), prefix)
        mine = None
        if self.mode is Mode.RETURNING:
            mine = self._decide_by_share(groups, prefix, in_redis=True)
        asked = (
            groups if mine is None else [Group(g.charges, m.admitted) for g, m in zip(groups, mine, strict=True)]
        )
        try:
            async with self._outages.asking:
                now_us, granted = await self._shared.take(asked, prefix)
                self._remember(asked, granted, prefix, now_us, mine)
        except (Lost, Wiped) as error:
            await self._outages.lose(error)
            if mine is None:
                mine = self._decide_by_share(groups, prefix)
            else:
                self._redis_was_not_told(groups, mine, prefix)
            await self._give_back_late(groups, mine, prefix)
            return self._answers(groups, None, mine, prefix)
        return self._answers(asked, mine, granted, prefix)

    async def _give_back_late(self, groups: Sequence[Group], mine: Sequence[Granted], prefix: str) -> None:
        """Redis may still carry out what it was too slow for: what was refused must not stay charged there."""
        late = [
            HeldSlot(key, f"{prefix}:{number}:{turn}")
            for number, (group, granted) in enumerate(zip(groups, mine, strict=True))
            for policy, key in group.charges
            for turn in range(granted.admitted, group.count)
            if policy.exact
        ]
        await self._outages.give_back(late)

    def _redis_was_not_told(self, groups: Sequence[Group], mine: Sequence[Granted], prefix: str) -> None:
        """What was admitted by share stands, and Redis has to hear of it later."""
        for number, (group, granted) in enumerate(zip(groups, mine, strict=True)):
            if granted.admitted:
                name, now_us = f"{prefix}:{number}", self._shared.clock.latest_us()
                for charge in group.charges:
                    self._memory.take_back(charge, name, granted.admitted)
                self._admit(group.charges, granted.admitted, name, now_us, in_redis=False)

    def _decide_by_share(self, groups: Sequence[Group], prefix: str, *, in_redis: bool = False) -> list[Granted]:
        """What fits this gateway's share; `in_redis`: Redis is asked too, and so will know."""
        clock, gateways = self._shared.clock, self._outages.gateways
        granted = []
        for number, (charges, wanted) in enumerate((group.charges, group.count) for group in groups):
            left = [self._memory.share(charge, clock.earliest_us(), gateways) for charge in charges]
            enforced = [
                places for charge, (places, _) in zip(charges, left, strict=True) if not charge.policy.shadow
            ]
            count = max(0, min([wanted, *enforced]))
            if count:
                self._admit(charges, count, f"{prefix}:{number}", clock.latest_us(), in_redis=in_redis)
                left = [(places - count, free_us) for places, free_us in left]
            granted.append(Granted(count, left))
        return granted

    def _admit(self, charges: Charges, count: int, prefix: str, now_us: int, *, in_redis: bool) -> None:
        for charge in charges:
            if charge.policy.at_once:  # given back one by one
                for number in range(count):
                    self._memory.admitted(charge, Admission(now_us, 1, prefix, number, in_redis))
            else:
                self._memory.admitted(charge, Admission(now_us, count, prefix, 0, in_redis))

    def _remember(
        self,
        groups: Sequence[Group],
        granted: Sequence[Granted],
        prefix: str,
        now_us: int,
        mine: Sequence[Granted] | None,
    ) -> None:
        """What Redis granted; where the share would have more, that is taken back."""
        for number, (group, answer) in enumerate(zip(groups, granted, strict=True)):
            if mine is not None:
                for charge in group.charges:
                    self._memory.take_back(charge, f"{prefix}:{number}", mine[number].admitted - answer.admitted)
            elif answer.admitted:
                self._admit(group.charges, answer.admitted, f"{prefix}:{number}", now_us, in_redis=True)
            for charge, (remaining, free_us) in zip(group.charges, answer.left, strict=True):
                self._memory.saw(charge, remaining, now_us)
                refuses = remaining <= 0 and answer.admitted < group.count
                if refuses and not (charge.policy.at_once or charge.policy.shadow):
                    self._note_over(charge, free_us)

    def _note_over(self, charge: Charge, free_us: int) -> None:
        self._over[charge.key] = _Over(charge.policy.figure, time.monotonic() + free_us / 1e6)
        self._over.move_to_end(charge.key)
        if len(self._over) > OVER_AT_MOST:
            self._over.popitem(last=False)

    def _answers(
        self, groups: Sequence[Group], mine: Sequence[Granted] | None, granted: Sequence[Granted], prefix: str
    ) -> list[_Answer]:
        answers = []
        for number, (group, answer) in enumerate(zip(groups, granted, strict=True)):
            statuses = []
            for position, (charge, (remaining, free_us)) in enumerate(
                zip(group.charges, answer.left, strict=True)
            ):
                if mine is not None:
                    remaining = min(remaining, mine[number].left[position][0])
                    free_us = max(free_us, mine[number].left[position][1])
                statuses.append(LimitStatus(charge.policy, remaining, max(1, math.ceil(free_us / 1e6))))
            answers.append(_Answer(answer.admitted, tuple(statuses), f"{prefix}:{number}"))
        return answers

    async def _give_back(self, places: list[HeldSlot]) -> list[None]:
        for key, member in places:
            prefix, _, number = member.rpartition(":")
            self._memory.gave_back(key, prefix, int(number))
        await self._outages.give_back(places)
        return [None] * len(places)


def _refuses(status: LimitStatus) -> bool:
    return status.remaining <= 0 and not status.policy.shadow


def _measure(asked: int, admitted: int, statuses: Sequence[LimitStatus]) -> None:
    for status in statuses:
        if admitted:
            metrics.limit_decisions.labels(status.policy.name, "admitted").inc(admitted)
        if status.policy.shadow and status.remaining < 0:
            metrics.limit_decisions.labels(status.policy.name, "would_refuse").inc(-status.remaining)
        elif _refuses(status) and admitted < asked:
            metrics.limit_decisions.labels(status.policy.name, "refused").inc(asked - admitted)

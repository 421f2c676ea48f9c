"""One decision for each request: by Redis, by this gateway's share, or by both.

SHARED     Redis decides, for all gateways together.
ALONE      Redis is away or too slow: this gateway decides by its share of what was left (memory.py).
RETURNING  Redis answers again and has been told everything, but other gateways may still be ALONE: what is
           admitted must fit both the share and Redis. When all have returned, SHARED.

A Redis that was wiped is the same as one that was away: nobody starts afresh.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import NamedTuple
from uuid import uuid4

import orjson
from redis.asyncio import Redis

from libs.common import log, metrics
from libs.common.backoff import delays
from libs.common.batching import Batcher
from libs.common.bus import Bus
from services.gateway.limits.decisions import Decision, Place, Standing, refused
from services.gateway.limits.memory import Admission, Memory
from services.gateway.limits.policies import Charge, Charges
from services.gateway.limits.shared import CheckIn, Granted, Group, Lost, Shared, Wiped

CHECK_IN_EVERY_S = 1.0
GONE_AFTER_S = 5.0
"""A gateway that has not checked in for this long has stopped."""
UNHEARD_AFTER_S = 3.0
"""In an outage, a gateway that has told nothing by then has stopped."""
DECIDED_AT_A_TIME = 200
"""Requests in one script: Redis does nothing else meanwhile."""
OVER_AT_MOST = 10_000
TOLD_AT_A_TIME = 500
SUBJECT = "limits.admitted"
"""On the bus: what a gateway admitted before Redis went away."""

logger = log.get("limits")


class Mode(StrEnum):
    """Who decides."""

    SHARED = "shared"
    ALONE = "alone"
    RETURNING = "returning"


class _Over(NamedTuple):
    limit: int
    until: float


class Limiter:
    """Decides, many requests at a time. `budget_s`: how long Redis may take."""

    def __init__(self, redis: Redis, bus: Bus, *, budget_s: float) -> None:
        self._bus = bus
        self.gateway = uuid4().hex[:12]
        self._shared = Shared(redis, gateway=self.gateway, budget_s=budget_s)
        self._memory = Memory()
        self._deciding: Batcher[Charges, Decision] = Batcher(self._decide, max_size=DECIDED_AT_A_TIME)
        self._giving_back: Batcher[Place, None] = Batcher(self._give_back)
        self._over: OrderedDict[str, _Over] = OrderedDict()
        self._peers: set[str] = set()
        self._owed: list[Place] = []
        self._batches = 0
        self._returned_us = 0
        self._look = asyncio.Event()
        self.mode = Mode.ALONE
        self._note_mode()

    async def take(self, charges: Charges) -> Decision:
        """Charge one request with all of `charges`, or with none and say which refuse it."""
        charges = tuple([charge for charge in charges if charge.policy.limit])
        if not charges:
            return Decision(admitted=True)
        return (self._over and self._known_to_be_over(charges)) or await self._deciding(charges)

    async def standing(self, charges: Charges) -> tuple[Standing, ...]:
        """How the subjects of `charges` stand. Charges nothing."""
        charges = tuple(charge for charge in charges if charge.policy.limit)
        if not charges:
            return ()
        return (await self._decide_groups([Group(charges, 0)]))[0][1]

    async def reachable(self) -> bool:
        """Whether Redis answers, now."""
        try:
            await self._ask_who_is_there()
        except Lost:
            return False
        return True

    def give_back(self, decision: Decision) -> None:
        """The request has ended: the places it held are free."""
        for place in decision.places:
            self._giving_back(place)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep in touch with Redis and the other gateways while the block runs."""
        await self._check_in()
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            await self._deciding.drain()
            await self._giving_back.drain()
            for task in (watching, listening):
                task.cancel()
            await asyncio.wait([watching, listening])  # a connection must not be left in the midst of an answer

    # -- deciding

    def _known_to_be_over(self, charges: Charges) -> Decision | None:
        now = time.monotonic()
        violated = []
        for position, (policy, key) in enumerate(charges):
            over = self._over.get(key)
            if over is not None and over.limit == policy.limit and over.until > now:
                violated.append((position, math.ceil(over.until - now)))
                metrics.limit_decisions.labels(policy.name, "refused").inc()
        return refused(charges, violated) if violated else None

    async def _decide(self, asked: list[Charges]) -> list[Decision]:
        groups: dict[tuple[str, ...], Group] = {}
        order = []
        for charges in asked:
            name = tuple([charge.key for charge in charges])
            group = groups.get(name)
            if group is None:
                group = groups[name] = Group(charges, 0)
            order.append((group, group.count))
            group.count += 1
        granted = await self._decide_groups(list(groups.values()))
        for group, (count, standings, _) in zip(groups.values(), granted, strict=True):
            _measure(group.count, count, standings)
        decided = dict(zip(map(id, groups.values()), granted, strict=True))
        return [self._decision(group, turn, *decided[id(group)]) for group, turn in order]

    def _decision(
        self, group: Group, turn: int, count: int, standings: tuple[Standing, ...], prefix: str
    ) -> Decision:
        if turn < count:
            places = [Place(key, f"{prefix}:{turn}") for policy, key in group.charges if policy.at_once]
            return Decision(True, standings, places=tuple(places))
        return Decision(False, standings, tuple([s.policy.name for s in standings if _refuses(s)]))

    async def _decide_groups(self, groups: Sequence[Group]) -> list[tuple[int, tuple[Standing, ...], str]]:
        """For each group how many are admitted, how its subjects stand, and how its admissions are named."""
        self._batches += 1
        prefix = f"{self.gateway}:{self._batches}"
        mine = None
        if self.mode is not Mode.SHARED:
            mine = self._decide_by_share(groups, prefix)
            groups = [Group(g.charges, granted.admitted) for g, granted in zip(groups, mine, strict=True)]
        if self.mode is not Mode.ALONE:
            try:
                now_us, granted = await self._shared.take(groups, prefix)
            except (Lost, Wiped) as error:
                self._lose(error)
            else:
                self._remember(groups, granted, prefix, now_us, mine)
                return self._answers(groups, mine, granted, prefix)
        if mine is None:
            mine = self._decide_by_share(groups, prefix)
        return self._answers(groups, mine, mine, prefix)

    def _decide_by_share(self, groups: Sequence[Group], prefix: str) -> list[Granted]:
        now_us, gateways = self._shared.now_us(), len(self._peers) + 1
        granted = []
        for number, (charges, wanted) in enumerate((group.charges, group.count) for group in groups):
            left = [self._memory.share(charge, now_us, gateways) for charge in charges]
            enforced = [
                places for charge, (places, _) in zip(charges, left, strict=True) if not charge.policy.shadow
            ]
            count = max(0, min([wanted, *enforced]))
            if count:
                self._admit(charges, count, f"{prefix}:{number}", now_us, in_redis=False)
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
        """What Redis granted, in place of what the share would have."""
        for number, (group, answer) in enumerate(zip(groups, granted, strict=True)):
            if mine is not None:
                for charge in group.charges:
                    self._memory.take_back(charge, f"{prefix}:{number}", mine[number].admitted)
            if answer.admitted:
                self._admit(group.charges, answer.admitted, f"{prefix}:{number}", now_us, in_redis=True)
            for charge, (remaining, free_us) in zip(group.charges, answer.left, strict=True):
                self._memory.saw(charge, remaining, now_us)
                refuses = remaining <= 0 and answer.admitted < group.count
                if refuses and not (charge.policy.at_once or charge.policy.shadow):
                    self._note_over(charge, free_us)

    def _note_over(self, charge: Charge, free_us: int) -> None:
        self._over[charge.key] = _Over(charge.policy.limit, time.monotonic() + free_us / 1e6)
        self._over.move_to_end(charge.key)
        if len(self._over) > OVER_AT_MOST:
            self._over.popitem(last=False)

    def _answers(
        self, groups: Sequence[Group], mine: Sequence[Granted] | None, granted: Sequence[Granted], prefix: str
    ) -> list[tuple[int, tuple[Standing, ...], str]]:
        answers = []
        for number, (group, answer) in enumerate(zip(groups, granted, strict=True)):
            standings = []
            for position, (charge, (remaining, free_us)) in enumerate(
                zip(group.charges, answer.left, strict=True)
            ):
                if mine is not None:
                    remaining = min(remaining, mine[number].left[position][0])
                    free_us = max(free_us, mine[number].left[position][1])
                standings.append(Standing(charge.policy, remaining, max(1, math.ceil(free_us / 1e6))))
            answers.append((answer.admitted, tuple(standings), f"{prefix}:{number}"))
        return answers

    async def _give_back(self, places: list[Place]) -> list[None]:
        for key, member in places:
            prefix, _, number = member.rpartition(":")
            self._memory.gave_back(key, prefix, int(number))
        self._owed += places
        if self.mode is not Mode.ALONE:
            with suppress(Lost):  # they stay owed
                await self._shared.give_back(self._owed)
                self._owed = []
        return [None] * len(places)

    # -- keeping in touch

    def _lose(self, error: Lost | Wiped) -> None:
        """Redis went away, or forgot: from here on by share."""
        if self.mode is Mode.SHARED:
            self._memory.begin_alone(self._peers)
            self._tell(answering=False)
            asyncio.get_running_loop().call_later(UNHEARD_AFTER_S, self._stop_waiting)
        if self.mode is not Mode.ALONE:
            self.mode = Mode.ALONE
            self._note_mode(error=str(error))
        self._look.set()

    def _stop_waiting(self) -> None:
        """Whoever has told nothing by now is gone."""
        if self.mode is Mode.ALONE:
            self._peers -= self._memory.unheard
            self._memory.unheard.clear()

    async def _watch(self) -> None:
        waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
        while True:
            self._look.clear()
            await self._check_in()
            if self.mode is Mode.SHARED:
                waits = delays(base_s=0.05, cap_s=CHECK_IN_EVERY_S)
            try:
                async with asyncio.timeout(CHECK_IN_EVERY_S if self.mode is Mode.SHARED else next(waits)):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _check_in(self) -> None:
        """Look for Redis and the others; move on to where that allows."""
        try:
            seen = await self._ask_who_is_there()
            if self.mode is not Mode.ALONE and seen.epoch != self._shared.epoch:
                raise Wiped
            if self.mode is Mode.ALONE:
                await self._come_back(seen)
                seen = await self._ask_who_is_there()
        except (Lost, Wiped) as error:
            self._lose(error)
            return
        except Exception:  # whatever it is, this must go on
            logger.exception("limits.bug")
            return
        others = {gateway for gateway in seen.seen if gateway != self.gateway}
        if self.mode is Mode.SHARED:
            self._peers = others
        elif self.mode is Mode.RETURNING:
            self._join(seen, others)

    async def _ask_who_is_there(self) -> CheckIn:
        deciding = self.mode is not Mode.ALONE
        return await self._shared.check_in(uuid4().hex, gone_after_s=GONE_AFTER_S, deciding=deciding)

    async def _come_back(self, seen: CheckIn) -> None:
        """Redis answers: tell it everything, then let it decide too."""
        wiped = seen.epoch != self._shared.epoch
        await self._shared.restore(list(self._memory.untold(self._shared.now_us(), wiped=wiped)))
        if self._owed:
            await self._shared.give_back(self._owed)
            self._owed = []
        self._shared.epoch = seen.epoch
        self._returned_us = seen.now_us
        self.mode = Mode.RETURNING
        self._note_mode()

    def _join(self, seen: CheckIn, others: set[str]) -> None:
        """Let Redis decide alone once every other gateway lets it decide too, or has stopped."""
        waited_s = (seen.now_us - self._returned_us) / 1e6
        returned = {gateway for gateway in others if seen.seen[gateway] >= self._returned_us}
        if self._peers <= returned or waited_s > GONE_AFTER_S:
            self.mode = Mode.SHARED
            self._memory.end_alone()
            self._peers = others
            self._note_mode()

    def _note_mode(self, **why: str) -> None:
        for mode in Mode:
            metrics.limiter_mode.labels(mode.value).set(mode is self.mode)
        logger.info("limits.mode", mode=self.mode.value, others=len(self._peers), **why)

    # -- among the gateways

    async def _listen(self) -> None:
        async with self._bus.listening(SUBJECT, self._hear):
            await asyncio.Event().wait()

    def _hear(self, message: bytes) -> None:
        told = orjson.loads(message)
        gateway = told["gateway"]
        if gateway == self.gateway:
            return
        if self.mode is not Mode.SHARED:
            self._memory.hear(gateway, told["admitted"], last=told["last"])
            self._peers.add(gateway)
        if not told["answering"] and told["last"]:
            self._tell(answering=True)

    def _tell(self, *, answering: bool) -> None:
        admitted = list(self._memory.tell(self._shared.now_us()).items())
        parts = [dict(admitted[i : i + TOLD_AT_A_TIME]) for i in range(0, len(admitted), TOLD_AT_A_TIME)] or [{}]
        asyncio.get_running_loop().create_task(self._publish(parts, answering))

    async def _publish(self, parts: Sequence[object], answering: bool) -> None:
        for number, part in enumerate(parts, 1):
            message = {
                "gateway": self.gateway,
                "admitted": part,
                "answering": answering,
                "last": number == len(parts),
            }
            await self._bus.publish(SUBJECT, orjson.dumps(message))


def _refuses(standing: Standing) -> bool:
    return standing.remaining <= 0 and not standing.policy.shadow


def _measure(asked: int, admitted: int, standings: Sequence[Standing]) -> None:
    for standing in standings:
        if admitted:
            metrics.limit_decisions.labels(standing.policy.name, "admitted").inc(admitted)
        if standing.policy.shadow and standing.remaining < 0:
            metrics.limit_decisions.labels(standing.policy.name, "would_refuse").inc(-standing.remaining)
        elif _refuses(standing) and admitted < asked:
            metrics.limit_decisions.labels(standing.policy.name, "refused").inc(asked - admitted)

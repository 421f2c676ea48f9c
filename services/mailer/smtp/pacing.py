"""How many messages may go out in a while: to a relay, to a domain, of a tenant. Counted in Redis for all mailers.

A message counts from when it is let go until a window after it is done, so a limit also holds where it is counted
by whoever receives. Without Redis nothing that has a limit is sent; it waits. A Redis that was started anew, or
wiped, is told by each mailer what it let go, before anybody lets anything go again.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from itertools import count
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from libs.common import background, log
from libs.common.batching import Batcher
from libs.common.clock_offset import RemoteClock, monotonic_us

RATE = re.compile(r"(relay|tenant|domain)(?::([^=\s]+))?\s*=\s*(\d+)/(s|min|h|day)")
UNITS_S = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
DEAD_AFTER_S, HELD_EVERY_S = 20, 1.0
"""A mailer that has let a message go says so again and again; one that was not heard of for so long has died."""
SETTLE_S = 5
"""In so long every mailer that can has noticed that Redis is another one, and told it what it knows."""
EPOCH = "argosy:mail:epoch"
EPOCHS_AT_A_TIME = 5
REDIS_AWAY_S = 1.0
"""How long to wait when Redis cannot be asked."""
PATIENCE_S = 2.0
TOLD_AT_A_TIME, COUNTED_AT_A_TIME = 200, 5_000

_SCRIPT = resources.files(__package__).joinpath("pace.lua").read_text()

logger = log.get("pacing")


class Rate(NamedTuple):
    """`limit` messages in `window_s` seconds."""

    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The bounds, by what they are for. `domains`: those of their own; `domain`: of each other."""

    relay: Rate | None = None
    tenant: Rate | None = None
    domain: Rate | None = None
    domains: dict[str, Rate] = field(default_factory=dict)


def parse_rates(text: str) -> Rates:
    """`relay=100/s, tenant=20/s, domain=50/s, domain:example.com=5/s`. Raises ValueError."""
    found: dict[str, Rate] = {}
    domains: dict[str, Rate] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        rate = RATE.fullmatch(part)
        if rate is None or (rate[2] and rate[1] != "domain") or int(rate[3]) < 1:
            raise ValueError(f"MAIL_LIMITS: {part!r} is not like relay=100/s or domain:example.com=5/min")
        target = domains if rate[2] else found
        target[rate[2].lower() if rate[2] else rate[1]] = Rate(int(rate[3]), UNITS_S[rate[4]])
    return Rates(**found, domains=domains)


class Permit(NamedTuple):
    """A message that may be sent, as its counters know it."""

    member: str
    counters: tuple[tuple[str, Rate], ...]


_NOTHING = Permit("", ())


class _Told(NamedTuple):
    what: Literal["take", "hold", "done"]
    permit: Permit


class _Done:
    """The messages that were done and still count, as Redis may have to be told of them again."""

    def __init__(self) -> None:
        self._by_window: dict[int, deque[tuple[int, Permit]]] = {}

    def add(self, permit: Permit, now_us: int) -> None:
        """It was done now."""
        window_s = max(rate.window_s for _, rate in permit.counters)
        done = self._by_window.setdefault(window_s, deque())
        done.append((now_us, permit))
        while done[0][0] + window_s * 1_000_000 < now_us:
            done.popleft()

    def ends_us(self) -> dict[tuple[str, Rate], dict[str, int]]:
        """By counter, when each of its messages stops counting."""
        ends: dict[tuple[str, Rate], dict[str, int]] = {}
        for done in self._by_window.values():
            for at_us, permit in done:
                for counter in permit.counters:
                    window_us = counter[1].window_s * 1_000_000
                    ends.setdefault(counter, {})[permit.member] = at_us + window_us
        return ends


class Pacer:
    """Lets messages go."""

    def __init__(self, redis: Redis, rates: Rates) -> None:
        self._redis = redis
        self._rates = rates
        self._me = uuid4().hex[:12]
        self._numbers = count()
        self._sha: str | None = None
        self._held: set[Permit] = set()
        self._done = _Done()
        self._epoch = b""
        self._clock = RemoteClock()
        self._telling: Batcher[_Told, float] = Batcher(self._tell, max_size=TOLD_AT_A_TIME)

    def permit(self, relay: str, tenant: str, domain: str) -> Permit:
        """What a message would have to get."""
        rates = self._rates
        counters = [
            (f"argosy:mail:{name}", rate)
            for name, rate in (
                (f"relay:{relay}", rates.relay),
                (f"tenant:{tenant}", rates.tenant),
                (f"domain:{domain}", rates.domains.get(domain, rates.domain)),
            )
            if rate is not None
        ]
        return Permit(f"{self._me}:{next(self._numbers)}", tuple(counters))

    async def take(self, permit: Permit) -> float:
        """Seconds to wait before it is worth asking again; 0.0: the message may go, and `done` must follow."""
        if not permit.counters:
            return 0.0
        wait_s = await self._telling(_Told("take", permit))
        if not wait_s:
            self._held.add(permit)
        return wait_s

    def done(self, permit: Permit) -> None:
        """The message that was let go has arrived, or never will."""
        if permit in self._held:
            self._held.discard(permit)
            self._done.add(permit, self._clock.latest_us())
            self._telling(_Told("done", permit))

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Keep what is on its way from being forgotten while the block runs; tell Redis the rest at its end."""
        if self._rates == Rates():
            yield
            return
        try:
            async with background.alongside(self._hold()):
                yield
        finally:
            await self._telling.drain()

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(HELD_EVERY_S)
            held = self._held or [_NOTHING]  # in any case: is it the same Redis?
            await asyncio.gather(*(self._telling(_Told("hold", permit)) for permit in held))

    async def _tell(self, told: list[_Told]) -> list[float]:
        try:
            waits = await self._agreed(told)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("pacing.redis_away", error=str(error) or type(error).__name__)
            if any(what != "take" for what, _ in told):
                self._epoch = b""  # all is told again, what is lost here too
            return [REDIS_AWAY_S] * len(told)
        return [wait / 1e6 for wait in waits]

    async def _agreed(self, told: Sequence[_Told]) -> list[int]:
        """The waits, from a Redis that knows all that this mailer does."""
        for _ in range(EPOCHS_AT_A_TIME):
            epoch, waits = await self._run(told, self._epoch)
            if epoch == self._epoch:
                return waits
            await self._tell_all(epoch)
            self._epoch = epoch  # not before: what breaks off must begin anew
        raise RedisError("Redis is another one again and again.")

    async def _tell_all(self, epoch: bytes) -> None:
        """What this mailer has let go and still counts. If Redis is yet another one by now, it is told again."""
        for (key, rate), ends_us in self._done.ends_us().items():
            members = list(ends_us.items())
            for start in range(0, len(members), COUNTED_AT_A_TIME):
                async with asyncio.timeout(PATIENCE_S):
                    await self._redis.zadd(key, dict(members[start : start + COUNTED_AT_A_TIME]))
            async with asyncio.timeout(PATIENCE_S):
                await self._redis.expire(key, rate.window_s + DEAD_AFTER_S)  # as in the script: never earlier
        held = [_Told("hold", permit) for permit in self._held]
        for start in range(0, len(held), TOLD_AT_A_TIME):
            await self._run(held[start : start + TOLD_AT_A_TIME], epoch)

    async def _run(self, told: Sequence[_Told], epoch: bytes) -> tuple[bytes, list[int]]:
        """Redis's epoch, and the waits if it is that one."""
        numbers: dict[str, int] = {}
        args: list[object] = [epoch, DEAD_AFTER_S, SETTLE_S]
        for what, permit in told:
            args += (what, permit.member, len(permit.counters))
            for key, rate in permit.counters:
                args += (numbers.setdefault(key, len(numbers) + 2), rate.limit, rate.window_s * 1_000_000)
        asked_us = monotonic_us()
        async with asyncio.timeout(PATIENCE_S):
            epoch, now_us, *waits = await self._evaluated([EPOCH, *numbers], args)
        self._clock.heard(now_us, asked_us=asked_us)
        return epoch, waits

    async def _evaluated(self, keys: Sequence[str], args: Sequence[object]) -> list[Any]:
        for _ in range(2):
            if self._sha is None:
                self._sha = await self._redis.script_load(_SCRIPT)
            try:
                answer: list[Any] = await self._redis.evalsha(self._sha, len(keys), *keys, *args)  # type: ignore[arg-type]
            except NoScriptError:  # Redis was restarted
                self._sha = None
                continue
            return answer
        raise RedisError("Redis does not keep the script.")

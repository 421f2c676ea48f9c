"""Rate limits on messages: per relay, per tenant and per recipient domain. Redis counts them for all mailers.

A message counts from the moment it gets its permit until one window after it has ended. So the limit also holds as
the receiver counts. Without Redis, messages that have a limit wait; the others are sent. After Redis was restarted
or wiped, each mailer first reports the permits it has given. Only then does any mailer get new ones.
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

from libs.common import background
from libs.common.batching import Batcher
from libs.common.clock_offset import RemoteClock, monotonic_us
from libs.common.redis_health import RedisHealth

RATE = re.compile(r"(relay|tenant|domain)(?::([^=\s]+))?\s*=\s*(\d+)/(s|min|h|day)")
UNITS_S = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
DEAD_AFTER_S, HEARTBEAT_S = 20, 1.0
"""A mailer sends heartbeats for its messages in flight. Without one for DEAD_AFTER_S it is taken for dead."""
SETTLE_S = 5
"""Nothing is permitted for this long in a new epoch, so that every live mailer has time to report its permits."""
EPOCH = "argosy:mail:epoch"
"""The Redis key with the epoch: an id that changes when Redis is restarted or wiped."""
EPOCH_TRIES = 5
REDIS_RETRY_S = 1.0
"""How long a message waits when Redis cannot be reached."""
REDIS_TIMEOUT_S = 2.0
COMMANDS_PER_CALL, MEMBERS_PER_CALL = 200, 5_000

_SCRIPT = resources.files(__package__).joinpath("pace.lua").read_text()


class Rate(NamedTuple):
    """`limit` messages in `window_s` seconds."""

    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits. `domains`: limits of particular domains; `domain`: the limit of each other domain."""

    relay: Rate | None = None
    tenant: Rate | None = None
    domain: Rate | None = None
    domains: dict[str, Rate] = field(default_factory=dict)


def parse_rates(text: str) -> Rates:
    """Parse `relay=100/s, tenant=20/s, domain=50/s, domain:example.com=5/s`. Raises ValueError."""
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
    """The permit for one message. `member` is its id in each of the `counters`, which are Redis keys."""

    member: str
    counters: tuple[tuple[str, Rate], ...]


_NO_PERMIT = Permit("", ())


class _Command(NamedTuple):
    action: Literal["take", "hold", "done"]
    permit: Permit


class _EndedPermits:
    """Permits of messages that have ended but still count. They are reported again if Redis has lost them."""

    def __init__(self) -> None:
        self._by_window: dict[int, deque[tuple[int, Permit]]] = {}

    def add(self, permit: Permit, now_us: int) -> None:
        """Add a permit whose message has just ended."""
        window_s = max(rate.window_s for _, rate in permit.counters)
        ended = self._by_window.setdefault(window_s, deque())
        ended.append((now_us, permit))
        while ended[0][0] + window_s * 1_000_000 < now_us:
            ended.popleft()

    def ends_us(self) -> dict[tuple[str, Rate], dict[str, int]]:
        """Return, by counter, the time in µs when each of its members stops counting."""
        ends: dict[tuple[str, Rate], dict[str, int]] = {}
        for ended in self._by_window.values():
            for at_us, permit in ended:
                for counter in permit.counters:
                    window_us = counter[1].window_s * 1_000_000
                    ends.setdefault(counter, {})[permit.member] = at_us + window_us
        return ends


class Pacer:
    """Gives out permits for messages, within the rate limits of all mailers together."""

    def __init__(self, redis: Redis, rates: Rates) -> None:
        self._redis = redis
        self._rates = rates
        self._mailer_id = uuid4().hex[:12]
        self._sequence = count()
        self._sha: str | None = None
        self._in_flight: set[Permit] = set()
        self._done = _EndedPermits()
        self._epoch = b""
        self._clock = RemoteClock()
        self._health = RedisHealth(redis, "mail limits")
        self._batcher: Batcher[_Command, float] = Batcher(self._flush, max_size=COMMANDS_PER_CALL)

    def permit(self, relay: str, tenant: str, domain: str) -> Permit:
        """Return the permit that a message needs. It is not taken yet."""
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
        return Permit(f"{self._mailer_id}:{next(self._sequence)}", tuple(counters))

    async def take(self, permit: Permit) -> float:
        """Try to take a permit. Returns 0.0 if it was taken, and then `done` must follow; else seconds to wait."""
        if not permit.counters:
            return 0.0
        wait_s = await self._batcher(_Command("take", permit))
        if not wait_s:
            self._in_flight.add(permit)
        return wait_s

    def done(self, permit: Permit) -> None:
        """The message has ended, sent or not. Its permit counts for one more window."""
        if permit in self._in_flight:
            self._in_flight.discard(permit)
            self._done.add(permit, self._clock.latest_us())
            self._batcher(_Command("done", permit))

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Send heartbeats for messages in flight while the block runs. At its end, flush what is pending."""
        if self._rates == Rates():
            yield
            return
        try:
            # Without heartbeats, messages under way would soon no longer count.
            async with background.alongside(background.essential(self._send_heartbeats())):
                yield
        finally:
            await self._batcher.drain()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            in_flight = self._in_flight or [_NO_PERMIT]  # always send one, to notice a new epoch
            await asyncio.gather(*(self._batcher(_Command("hold", permit)) for permit in in_flight))

    async def _flush(self, commands: list[_Command]) -> list[float]:
        try:
            waits = await self._run_in_epoch(commands)
        except (RedisError, OSError, TimeoutError) as error:
            await self._health.note_error(error)
            if any(action != "take" for action, _ in commands):
                self._epoch = b""  # forces a full report, which includes the commands lost here
            return [REDIS_RETRY_S] * len(commands)
        await self._health.note_answer()
        return [wait / 1e6 for wait in waits]

    async def _run_in_epoch(self, commands: Sequence[_Command]) -> list[int]:
        """Run commands in an epoch to which this mailer has reported. Returns the waits in µs."""
        for _ in range(EPOCH_TRIES):
            epoch, waits = await self._run_script(commands, self._epoch)
            if epoch == self._epoch:
                return waits
            await self._report_all(epoch)
            self._epoch = epoch  # only now: an interrupted report must start again
        raise RedisError("The epoch of Redis keeps changing.")

    async def _report_all(self, epoch: bytes) -> None:
        """Report all permits of this mailer that still count. The caller repeats it if the epoch changes again."""
        for (key, rate), ends_us in self._done.ends_us().items():
            members = list(ends_us.items())
            for start in range(0, len(members), MEMBERS_PER_CALL):
                async with asyncio.timeout(REDIS_TIMEOUT_S):
                    await self._redis.zadd(key, dict(members[start : start + MEMBERS_PER_CALL]))
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                # As in the script, so that the key never expires earlier.
                await self._redis.expire(key, rate.window_s + DEAD_AFTER_S)
        in_flight = [_Command("hold", permit) for permit in self._in_flight]
        for start in range(0, len(in_flight), COMMANDS_PER_CALL):
            await self._run_script(in_flight[start : start + COMMANDS_PER_CALL], epoch)

    async def _run_script(self, commands: Sequence[_Command], epoch: bytes) -> tuple[bytes, list[int]]:
        """Run the script. Returns the epoch of Redis, and the waits in µs if it equals `epoch`."""
        positions: dict[str, int] = {}
        args: list[object] = [epoch, DEAD_AFTER_S, SETTLE_S]
        for action, permit in commands:
            args += (action, permit.member, len(permit.counters))
            for key, rate in permit.counters:
                args += (positions.setdefault(key, len(positions) + 2), rate.limit, rate.window_s * 1_000_000)
        asked_us = monotonic_us()
        async with asyncio.timeout(REDIS_TIMEOUT_S):
            epoch, now_us, *waits = await self._evalsha([EPOCH, *positions], args)
        self._clock.heard(now_us, asked_us=asked_us)
        return epoch, waits

    async def _evalsha(self, keys: Sequence[str], args: Sequence[object]) -> list[Any]:
        for _ in range(2):
            if self._sha is None:
                self._sha = await self._redis.script_load(_SCRIPT)
            try:
                answer: list[Any] = await self._redis.evalsha(self._sha, len(keys), *keys, *args)  # type: ignore[arg-type]
            except NoScriptError:  # Redis was restarted
                self._sha = None
                continue
            return answer
        raise RedisError("Redis does not keep the script that was loaded.")

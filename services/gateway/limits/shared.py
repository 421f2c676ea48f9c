"""The counters in Redis that all gateways share: three scripts, each one atomic step on Redis's own clock."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from libs.common.clock_offset import RemoteClock, monotonic_us
from libs.common.errors import ArgosyError, message_of
from libs.common.redis_health import RedisHealth
from services.gateway.limits.decisions import HeldSlot
from services.gateway.limits.memory import Admission
from services.gateway.limits.policies import Charges, Policy

EPOCH = "argosy:limits:epoch"
"""A random value, set when Redis is empty. With the server's run id it is the epoch. A changed epoch means that
counts may be lost."""
GATEWAYS = "argosy:limits:gateways"
BUDGET_SLICES = 5
"""The budget is waited for in this many parts, so that a busy event loop is not mistaken for a slow Redis: between
two parts the loop reads what has arrived."""
RESTORED_AT_A_TIME = 200
LONG_TIMEOUT_S = 1.0
"""The timeout of commands that no HTTP request waits for."""

_SCRIPTS = {
    name: resources.files(__package__).joinpath(f"{name}.lua").read_text()
    for name in ("take", "restore", "checkin")
}

T = TypeVar("T")


class Lost(ArgosyError):
    """Redis cannot be reached, or did not reply in time."""


class Wiped(ArgosyError):
    """Redis may have lost counts: it was wiped or restarted, or another one took over."""


@dataclass(slots=True)
class Group:
    """`count` requests with the same charges, decided together."""

    charges: Charges
    count: int


class Granted(NamedTuple):
    """How many of a group are admitted and, for each charge, what remains and µs until one more is free."""

    admitted: int
    left: list[tuple[int, int]]


class CheckIn(NamedTuple):
    """Redis's reply to a check-in: its time, its epoch, and the time in µs of each gateway's last check-in."""

    now_us: int
    epoch: str
    seen: dict[str, int]


class Shared:
    """The client of the shared counters. `budget_s` is the timeout of a decision in seconds."""

    def __init__(self, redis: Redis, *, gateway: str, budget_s: float) -> None:
        self._redis = redis
        self._gateway = gateway
        self._budget_s = budget_s
        self._shas: dict[str, str] = {}
        self._abandoned: set[asyncio.Future[Any]] = set()
        self.clock = RemoteClock()
        self.health = RedisHealth(redis, "limits")
        self.epoch = ""

    async def take(self, groups: Sequence[Group], prefix: str) -> tuple[int, list[Granted]]:
        """Decide `groups`: Redis's time in µs and what was granted to each. Raises Lost, Wiped."""
        positions: dict[str, int] = {}
        counters = []
        for policy, key in chain.from_iterable(group.charges for group in groups):
            if key not in positions:
                positions[key] = len(positions) + 1
                counters.append((policy.exact, not policy.shadow, policy.limit, policy.window_s * 1_000_000))
        requested = [(group.count, [positions[key] for _, key in group.charges]) for group in groups]
        keys = [EPOCH, *positions]
        # As one argument: the client spends most of its time on each of many.
        args = [self.epoch, self._gateway, prefix, orjson.dumps((counters, requested))]
        sent_us = monotonic_us()
        reply = await self._within_budget(self._run("take", keys, args))
        self.clock.heard(reply[0], asked_us=sent_us)
        if len(reply) == 1:
            raise Wiped
        return reply[0], _parsed(reply, groups)

    async def check_in(self, new_epoch: str, *, gone_after_s: float, deciding: bool) -> CheckIn:
        """Read the check-ins, and record this gateway's own if it is `deciding` by Redis. Raises Lost."""
        known = self.epoch if deciding else ""
        args = [new_epoch, self._gateway, known, gone_after_s]
        sent_us = monotonic_us()
        reply = await self._with_long_timeout(self._run("checkin", [EPOCH, GATEWAYS], args))
        self.clock.heard(reply[0], asked_us=sent_us)
        names, times = reply[2::2], reply[3::2]
        seen = {name.decode(): int(float(at)) for name, at in zip(names, times, strict=True)}
        return CheckIn(reply[0], reply[1].decode(), seen)

    async def restore(
        self, unreported: Sequence[tuple[str, Policy, list[Admission]]], *, knows_some: bool
    ) -> None:
        """Write admissions to Redis. With `knows_some` these are all, and Redis may know some. Raises Lost."""
        for start in range(0, len(unreported), RESTORED_AT_A_TIME):
            part = unreported[start : start + RESTORED_AT_A_TIME]
            args: list[object] = [self._gateway, int(knows_some)]
            for _, policy, admissions in part:
                args += ("log" if policy.exact else "buckets", policy.window_s * 1_000_000, len(admissions))
                for a in admissions:
                    args += (a.time_us, a.amount, a.prefix, a.first)
                    a.in_redis = True  # set before sending, so that nothing is added to it meanwhile
            try:
                await self._with_long_timeout(self._run("restore", [key for key, _, _ in part], args))
            except Lost:
                for admission in chain.from_iterable(admissions for _, _, admissions in part):
                    admission.in_redis = False
                raise

    async def give_back(self, slots: Sequence[HeldSlot]) -> None:
        """Release slots of concurrency limits. Raises Lost."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, member in slots:
            pipeline.zrem(key, member)
        await self._with_long_timeout(pipeline.execute())

    async def settled(self) -> None:
        """Wait until abandoned commands hold no connection any more, so that all can be closed."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=LONG_TIMEOUT_S)

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[object]) -> Any:
        sha = self._shas.get(script)
        try:
            if sha is None:
                raise NoScriptError
            return await self._redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
        except NoScriptError:  # the first time, or Redis was restarted
            self._shas[script] = await self._redis.script_load(_SCRIPTS[script])
        return await self._redis.execute_command("EVALSHA", self._shas[script], len(keys), *keys, *args)  # type: ignore[no-untyped-call]

    async def _within_budget(self, request: Awaitable[T]) -> T:
        task = asyncio.ensure_future(request)
        try:
            for _ in range(BUDGET_SLICES):
                await asyncio.wait({task}, timeout=self._budget_s / BUDGET_SLICES)
                if task.done():
                    return task.result()
        except (RedisError, OSError) as error:
            raise Lost(f"Redis: {message_of(error)}") from error
        finally:
            if not task.done():
                task.cancel()
                self._abandoned.add(task)
                task.add_done_callback(self._abandoned.discard)
        raise Lost(f"Redis took more than {self._budget_s * 1000:g} ms.")

    async def _with_long_timeout(self, request: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(LONG_TIMEOUT_S):
                return await request
        except (RedisError, OSError, TimeoutError) as error:
            raise Lost(f"Redis: {message_of(error)}") from error


def _parsed(reply: list[int], groups: Sequence[Group]) -> list[Granted]:
    granted, at = [], 1
    for group in groups:
        end = at + 1 + 2 * len(group.charges)
        left = reply[at + 1 : end]
        granted.append(Granted(reply[at], list(zip(left[::2], left[1::2], strict=True))))
        at = end
    return granted

"""The counts that all gateways share, in Redis: three scripts, each one step on Redis's own clock."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from libs.common.clock_offset import RemoteClock, monotonic_us
from libs.common.errors import ArgosyError, message_of
from services.gateway.limits.decisions import HeldSlot
from services.gateway.limits.memory import Admission
from services.gateway.limits.policies import Charges, Policy

EPOCH = "argosy:limits:epoch"
"""Made when Redis is empty. With the server's run id it is the epoch; another means that something may be lost."""
GATEWAYS = "argosy:limits:gateways"
LOOKS = 5
"""Looks at the clock within the budget. A busy event loop is not taken for a slow Redis: between two looks it has
read what had arrived."""
RESTORED_AT_A_TIME = 200
PATIENCE_S = 1.0
"""For what no request waits for."""

_SCRIPTS = {
    name: resources.files(__package__).joinpath(f"{name}.lua").read_text()
    for name in ("take", "restore", "checkin")
}

T = TypeVar("T")


class Lost(ArgosyError):
    """Redis cannot be asked, or not in time."""


class Wiped(ArgosyError):
    """Redis may not know what it knew: it was wiped, started anew, or another one took over."""


@dataclass(slots=True)
class Group:
    """Some requests with the same charges, which are decided together."""

    charges: Charges
    count: int


class Granted(NamedTuple):
    """Of a group: how many are admitted, and for each charge what remains and µs until one more is free."""

    admitted: int
    left: list[tuple[int, int]]


class CheckIn(NamedTuple):
    """Redis's answer to a check-in: its time, its epoch, and when each gateway checked in last."""

    now_us: int
    epoch: str
    seen: dict[str, int]


class Shared:
    """Asks Redis. `budget_s`: how long a decision may take."""

    def __init__(self, redis: Redis, *, gateway: str, budget_s: float) -> None:
        self._redis = redis
        self._gateway = gateway
        self._budget_s = budget_s
        self._shas: dict[str, str] = {}
        self._given_up: set[asyncio.Future[Any]] = set()
        self.clock = RemoteClock()
        self.epoch = ""

    async def take(self, groups: Sequence[Group], prefix: str) -> tuple[int, list[Granted]]:
        """Decide `groups`: the time it was decided, and what was granted. Raises Lost, Wiped."""
        numbers: dict[str, int] = {}
        figures: list[object] = []
        wanted: list[object] = []
        for group in groups:
            wanted += (group.count, len(group.charges))
            for policy, key in group.charges:
                if key not in numbers:
                    numbers[key] = len(numbers) + 1
                    figures += (
                        "log" if policy.exact else "buckets",
                        0 if policy.shadow else 1,
                        policy.limit,
                        policy.window_s * 1_000_000,
                    )
                wanted.append(numbers[key])
        keys = [EPOCH, *numbers]
        asked_us = monotonic_us()
        answer = await self._within_budget(
            self._run("take", keys, [self.epoch, self._gateway, prefix, *figures, *wanted])
        )
        self.clock.heard(answer[0], asked_us=asked_us)
        if len(answer) == 1:
            raise Wiped
        return answer[0], _parsed(answer, groups)

    async def check_in(self, new_epoch: str, *, gone_after_s: float, deciding: bool) -> CheckIn:
        """Say that this gateway is there, if it is `deciding` by Redis. Raises Lost."""
        known = self.epoch if deciding else ""
        args = [new_epoch, self._gateway, known, gone_after_s]
        asked_us = monotonic_us()
        answer = await self._patiently(self._run("checkin", [EPOCH, GATEWAYS], args))
        self.clock.heard(answer[0], asked_us=asked_us)
        names, times = answer[2::2], answer[3::2]
        seen = {name.decode(): int(float(at)) for name, at in zip(names, times, strict=True)}
        return CheckIn(answer[0], answer[1].decode(), seen)

    async def restore(self, untold: Sequence[tuple[str, Policy, list[Admission]]], *, knows_some: bool) -> None:
        """Tell Redis of admissions; `knows_some`: these are all, of which it may know some. Raises Lost."""
        for start in range(0, len(untold), RESTORED_AT_A_TIME):
            part = untold[start : start + RESTORED_AT_A_TIME]
            args: list[object] = [self._gateway, int(knows_some)]
            for _, policy, admissions in part:
                args += ("log" if policy.exact else "buckets", policy.window_s * 1_000_000, len(admissions))
                for a in admissions:
                    args += (a.time_us, a.amount, a.prefix, a.first)
                    a.in_redis = True  # from now on nothing is added to it
            try:
                await self._patiently(self._run("restore", [key for key, _, _ in part], args))
            except Lost:
                for admission in chain.from_iterable(admissions for _, _, admissions in part):
                    admission.in_redis = False
                raise

    async def give_back(self, places: Sequence[HeldSlot]) -> None:
        """Free places of policies that bound what runs at once. Raises Lost."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, member in places:
            pipeline.zrem(key, member)
        await self._patiently(pipeline.execute())

    async def settled(self) -> None:
        """Nothing that was given up holds a connection any more: all can be closed."""
        if self._given_up:
            await asyncio.wait(self._given_up, timeout=PATIENCE_S)

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[object]) -> Any:
        sha = self._shas.get(script)
        try:
            if sha is None:
                raise NoScriptError
            return await self._redis.execute_command("EVALSHA", sha, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
        except NoScriptError:  # the first time, or Redis was restarted
            self._shas[script] = await self._redis.script_load(_SCRIPTS[script])
        return await self._redis.execute_command("EVALSHA", self._shas[script], len(keys), *keys, *args)  # type: ignore[no-untyped-call]

    async def _within_budget(self, asking: Awaitable[T]) -> T:
        task = asyncio.ensure_future(asking)
        try:
            for _ in range(LOOKS):
                await asyncio.wait({task}, timeout=self._budget_s / LOOKS)
                if task.done():
                    return task.result()
        except (RedisError, OSError) as error:
            raise Lost(f"Redis: {message_of(error)}") from error
        finally:
            if not task.done():
                task.cancel()
                self._given_up.add(task)
                task.add_done_callback(self._given_up.discard)
        raise Lost(f"Redis took more than {self._budget_s * 1000:g} ms.")

    async def _patiently(self, asking: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asking
        except (RedisError, OSError, TimeoutError) as error:
            raise Lost(f"Redis: {message_of(error)}") from error


def _parsed(answer: list[int], groups: Sequence[Group]) -> list[Granted]:
    granted, at = [], 1
    for group in groups:
        end = at + 1 + 2 * len(group.charges)
        left = answer[at + 1 : end]
        granted.append(Granted(answer[at], list(zip(left[::2], left[1::2], strict=True))))
        at = end
    return granted

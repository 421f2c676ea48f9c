"""Exact rate limits, decided by Redis in one atomic script on its own clock.

Decisions of concurrent requests share a round trip. Where Redis cannot be asked, the request is refused
with 503: a limit is never guessed.
"""

import asyncio
import math
from dataclasses import dataclass
from importlib import resources

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from libs.common import metrics
from libs.common.batching import Batcher
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import new_id

BUDGET_S = 1.0
"""How long Redis may take before the request is refused."""

_SCRIPT = resources.files("services.gateway").joinpath("limits.lua").read_text()


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `limit` requests of one user in any `window_s` seconds."""

    name: str
    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided. `reset_s`: whole seconds until a place is free again (draft-10's `t`)."""

    policy: Policy
    admitted: bool
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit, as structured fields (draft-ietf-httpapi-ratelimit-headers-10)."""
        policy = self.policy
        headers = {
            "RateLimit-Policy": f'"{policy.name}";q={policy.limit};w={policy.window_s}',
            "RateLimit": f'"{policy.name}";r={self.remaining};t={self.reset_s}',
        }
        return headers if self.admitted else headers | {"Retry-After": str(self.reset_s)}


class Limiter:
    """Asks Redis, many requests at a time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._deciding: Batcher[tuple[Policy, str], Decision] = Batcher(self._decide)
        self._script = redis.register_script(_SCRIPT)

    async def take(self, policy: Policy, user: str) -> Decision:
        """Charge one request of `user` to `policy` if it fits. Raises Unavailable if Redis cannot be asked."""
        decision = await self._deciding((policy, user))
        outcome = "admitted" if decision.admitted else "refused"
        metrics.limit_decisions.labels(policy.name, outcome).inc()
        return decision

    async def reachable(self) -> bool:
        """Whether Redis answers, now."""
        try:
            async with asyncio.timeout(BUDGET_S):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _decide(self, asked: list[tuple[Policy, str]]) -> list[Decision]:
        try:
            async with asyncio.timeout(BUDGET_S):
                try:
                    answers = await self._ask(asked)
                except NoScriptError:  # Redis was restarted
                    await self._redis.script_load(_SCRIPT)
                    answers = await self._ask(asked)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis: {error or type(error).__name__}") from error
        return [
            Decision(policy, bool(admitted), remaining, max(1, math.ceil(reset_ms / 1000)))
            for (policy, _), (admitted, remaining, reset_ms) in zip(asked, answers, strict=True)
        ]

    async def _ask(self, asked: list[tuple[Policy, str]]) -> list[tuple[int, int, int]]:
        pipeline = self._redis.pipeline(transaction=False)
        for policy, user in asked:
            key = f"argosy:limit:{policy.name}:{user}"
            pipeline.evalsha(
                self._script.sha, 1, key, str(policy.limit), str(policy.window_s * 1000), new_id().hex
            )
        answers: list[tuple[int, int, int]] = await pipeline.execute()
        return answers

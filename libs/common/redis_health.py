"""Whether Redis can be used: told once when that ends and once when it begins again, with the reason.

Redis may answer and still be of no use: a wrong password, missing permissions, a full disk or memory, a primary
that has become a replica, a cluster. Nothing stops then, because limits and mail have ways to go on without it, so
an operator would not notice. This module does not import redis: not every service has it.
"""

import time
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from libs.common import log, metrics
from libs.common.errors import message_of

EVICTION_ASKED_EVERY_S = 60.0
OF_A_CLUSTER = ("MovedError", "AskError", "ClusterCrossSlotError", "ClusterDownError", "TryAgainError")
"""The errors of redis-py that only a server in cluster mode causes."""

logger = log.get("redis")


class Client(Protocol):
    """What is needed of redis-py's client."""

    connection_pool: Any

    def info(self, section: str) -> Awaitable[Any]:
        """The statistics of a section."""


class RedisHealth:
    """Watches what becomes of commands. `use`: what Redis serves for here, such as limits."""

    def __init__(self, redis: Client, use: str) -> None:
        self._redis = redis
        self._use = use
        self._usable: bool | None = None
        self._eviction_asked_at = float("-inf")
        self.eviction: str | None = None
        """Redis's maxmemory-policy; None: not known. With any but `noeviction` it may forget what counts."""

    async def note_error(self, error: Exception) -> None:
        """A command has failed, with an error of redis-py or one caused by it."""
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        if self._usable is not False:
            self._note(usable=False)
            logger.warning("redis.unusable", use=self._use, reason=_reason(cause))
        if "READONLY" in str(cause) or type(cause).__name__ == "ReadOnlyError":
            await self._drop_connections()

    async def note_answer(self) -> None:
        """Commands have succeeded."""
        if self._usable is False:
            logger.info("redis.usable", use=self._use)
        self._note(usable=True)
        if time.monotonic() - self._eviction_asked_at > EVICTION_ASKED_EVERY_S:
            self._eviction_asked_at = time.monotonic()
            await self._look_at_eviction()

    def _note(self, *, usable: bool) -> None:
        self._usable = usable
        metrics.redis_usable.labels(self._use).set(usable)
        metrics.dependency_up.labels("redis").set(usable)

    async def _drop_connections(self) -> None:
        """Redis has become a replica: its address may lead to the new primary, but only new connections."""
        pool = self._redis.connection_pool
        await pool.update_active_connections_for_reconnect()
        await pool.disconnect(inuse_connections=False)

    async def _look_at_eviction(self) -> None:
        try:
            memory: Mapping[str, object] = await self._redis.info("memory")
        except (
            Exception
        ) as error:  # redis-py's own classes cannot be named here; the next command shows a lasting one
            logger.info("redis.eviction_unknown", use=self._use, error=message_of(error))
            return
        before, self.eviction = self.eviction, str(memory.get("maxmemory_policy", "")) or None
        if self.eviction not in (before, "noeviction", None):
            why = "it may forget what counts; set maxmemory-policy to noeviction"
            logger.warning("redis.evicts", use=self._use, policy=self.eviction, why=why)


def _reason(error: Exception) -> str:
    """The kind of the error and its text, which names no password."""
    reason = f"{type(error).__name__}: {message_of(error)}"
    if type(error).__name__ in OF_A_CLUSTER:
        return f"A Redis Cluster cannot be used, because all keys of a decision must be on one server. {reason}"
    return reason

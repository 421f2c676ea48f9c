"""The connections of a process: who may use one, and which may still be used.

After a failover, connections that nobody has used since still lead to the former server. So an error that says
that the server has moved, or has fallen silent, ends a generation of connections: those that are idle are closed
at once, those in use when they come back. One that is older than MAX_AGE_S is closed in the same way. None is
closed while it works, because a statement may rightly take many minutes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from pydantic_core import from_json
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from libs.common import background, log, metrics
from libs.common.config import DatabaseSettings
from libs.common.db_opening import CLOSED_WITHIN_S, LOST, Driver, Servers
from libs.common.errors import Misconfigured, Unavailable, message_of

SWEEP_EVERY_S = 60.0

MOVED = (
    OSError,  # with TimeoutError: the server is silent
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The errors that speak of the server and not of one connection: new connections may lead to another one."""

NONE_TO_BE_HAD = (
    *LOST,
    Misconfigured,
    DBAPIError,
    PoolTimeout,
    InvalidRequestError,  # two new connections in a row were closed, or became suspect, before they were used
)
"""What the pool raises where it has no connection to give."""

logger = log.get("database")

Connection = AsyncConnection
"""What `Database.begin` yields: a connection in a transaction."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The pool at one moment: its connections, and `waiting` callers."""

    total: int
    in_use: int
    idle: int
    waiting: int


class Pool:
    """At least `db_min_connections` of `servers` stay open, and at most `db_max_connections` exist."""

    def __init__(self, servers: Servers, settings: DatabaseSettings) -> None:
        self._servers = servers
        self._settings = settings
        self._waiting = 0
        self._answers = False
        """Whether PostgreSQL did what was asked last."""
        self._drivers: set[Driver] = set()
        self._leaving = background.Tasks()
        self._generation = 0
        self._wait_s = settings.db_connection_timeout / 1000
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._open,
            pool_size=settings.db_max_connections,
            max_overflow=0,
            pool_timeout=self._wait_s,
            pool_use_lifo=True,
            hide_parameters=True,  # keeps callers' data out of error messages
            json_deserializer=from_json,  # orjson turns integers beyond 64 bits into floats
        )
        event.listen(self._engine.sync_engine, "checkout", self._on_checkout)
        event.listen(self._engine.sync_engine, "checkin", self._on_checkin)

    @property
    def max_connections(self) -> int:
        """How many connections there may be at the same time."""
        return self._settings.db_max_connections

    def stats(self) -> PoolStats:
        """The current numbers of the pool; also exported as metrics."""
        in_use = sum(driver.in_use for driver in self._drivers)
        total = len(self._drivers)
        return PoolStats(total=total, in_use=in_use, idle=total - in_use, waiting=self._waiting)

    @asynccontextmanager
    async def borrowed(self, within_s: float | None = None) -> AsyncIterator[tuple[Connection, Driver]]:
        """A connection of the pool. Raises Unavailable if there is none within `within_s` seconds.

        None: within `db_connection_timeout`.
        """
        requested_at = time.perf_counter()
        self._waiting += 1
        try:
            async with asyncio.timeout(within_s or self._wait_s):
                connection = await self._engine.connect()
        except NONE_TO_BE_HAD as error:
            self._answers = False
            raise Unavailable(f"PostgreSQL: {message_of(cause_of(error))}", server="PostgreSQL") from error
        finally:
            self._waiting -= 1
        metrics.db_wait_seconds.observe(time.perf_counter() - requested_at)
        try:
            driver: Driver = (await connection.get_raw_connection()).driver_connection  # type: ignore[assignment]
            yield connection, driver
        finally:
            await connection.close()

    async def _open(self) -> Driver:
        generation = self._generation  # a connection that was begun before the end of one belongs to it
        driver = await self._servers.open()
        driver.generation = generation
        driver.in_use = True
        self._drivers.add(driver)
        driver.add_termination_listener(self._drivers.discard)
        return driver

    def _on_checkout(self, adapted: Any, *_: object) -> None:
        """Exchange a connection that the server closed while it was idle, or that leads to a former server."""
        driver: Driver = adapted.driver_connection
        if driver.generation != self._generation:
            self.retire(driver)
        if driver.leaving or driver.is_closed():
            raise DisconnectionError
        driver.in_use = True

    def _on_checkin(self, adapted: Any, *_: object) -> None:
        if adapted is None:
            return
        driver: Driver = adapted.driver_connection
        driver.in_use = False
        driver.used_at = time.monotonic()
        self._answers = self._answers or driver.reusable
        if not driver.reusable or driver.generation != self._generation or driver.expires_at <= driver.used_at:
            self.retire(driver)

    def retire(self, driver: Driver) -> None:
        """Close a connection in the background, and never use it again."""
        self._drivers.discard(driver)
        if not driver.leaving:
            driver.leaving = True
            self._leaving.start(driver.leave())

    def lost(self, driver: Driver, error: BaseException) -> Unavailable:
        """What the caller is told of `error`. It may end the generation of the pool's connections."""
        driver.reusable = False
        moved = isinstance(error, MOVED) and not isinstance(error, asyncpg.QueryCanceledError)
        self._answers = False
        if moved and driver.generation == self._generation:
            self._renew(message_of(error))
        return Unavailable(f"PostgreSQL: {message_of(error)}", server="PostgreSQL")

    def _renew(self, reason: str) -> None:
        """Use no connection that is open now for anything new."""
        self._generation += 1
        idle = [driver for driver in self._drivers if not driver.in_use]
        for driver in idle:
            self.retire(driver)
        logger.warning("database.renewed", reason=reason, closed=len(idle))

    async def keep_minimum(self) -> None:
        """Open connections until there are `db_min_connections`."""
        wanted = self._settings.db_min_connections - self.stats().in_use
        async with AsyncExitStack() as held:
            for _ in range(wanted):
                await held.enter_async_context(self.borrowed())

    def close_idle(self) -> None:
        """Close idle connections that are too old; and down to the minimum those that were not used for long."""
        now = time.monotonic()
        unused_since = now - self._settings.db_idle_timeout / 1000
        idle = [driver for driver in self._drivers if not driver.in_use]
        idle.sort(key=lambda driver: driver.used_at, reverse=True)
        for place, driver in enumerate(idle):
            spare = place >= self._settings.db_min_connections
            if driver.expires_at <= now or (spare and driver.used_at <= unused_since):
                self.retire(driver)

    async def sweep_forever(self) -> None:
        """Close what is idle for too long, and keep the minimum open, every SWEEP_EVERY_S."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.close_idle()
            with suppress(Unavailable):  # callers get their own errors
                await self.keep_minimum()

    async def close(self) -> None:
        """Close all connections, within about CLOSED_WITHIN_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                await self._engine.dispose()
        await self._leaving.end()

    def export(self) -> None:
        """Show the numbers of this pool in the metrics."""
        metrics.dependency_up.labels("postgres").set_function(lambda: self._answers)
        for state in ("total", "in_use", "idle", "waiting"):
            metrics.db_connections.labels(state).set_function(
                lambda state=state: getattr(self.stats(), state)  # type: ignore[misc]
            )


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error, if `error` is SQLAlchemy's."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error
    return error

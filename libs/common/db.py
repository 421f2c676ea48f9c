"""The PostgreSQL connection pool of a process.

At least `db_min_connections` stay open and at most `db_max_connections` exist. The connection used last is used
next. Once a minute, connections that have been idle for `db_idle_timeout` are closed.

There are two ways to use the pool. `fetch` runs a single statement directly on asyncpg; the statement is its own
transaction, and hot paths send whole batches in one. `begin` opens a SQLAlchemy transaction.

A process acts as a role that owns no tables (`Role`), so row-level security applies to it, whichever user it logs
in as. With `tenant`, a statement runs as a role that can read and write only that tenant's rows.
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
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.common import background, log, metrics
from libs.common.backoff import until_available
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import Role as Role
from libs.common.errors import Unavailable, message_of

SWEEP_EVERY_S = 60.0
COMMAND_TIMEOUT_S = 60.0
CLOSED_WITHIN_S = 2.0
"""How long a stopping process waits for its connections to close."""
FROZEN_AFTER_S = 15.0
"""A process that leaves a transaction idle for this long is taken for frozen. The server ends the session, which
releases its locks."""

LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said that it closes, but the connection is still open
    asyncpg.OperatorInterventionError,  # the server is shutting down or starting up
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby that has not been promoted yet
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.DeadlockDetectedError,  # ours was chosen as the victim; a retry works
    asyncpg.SerializationError,
    TimeoutError,
)
"""The errors of the driver after which a retry may succeed."""

logger = log.get("database")

Rows = list[Any]
Connection = AsyncConnection
"""What `Database.begin` yields: a connection in a transaction."""


_ENTER = "BEGIN; SET LOCAL ROLE {}; SELECT set_config('argosy.tenant', '{}', true)"
_ENTER_WITHIN = "SELECT set_config('role', $1, true), set_config('argosy.tenant', $2, true)"
"""Role and tenant apply to this transaction only: a connection in the pool belongs to no tenant."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The pool at one moment: its connections, and `waiting` callers."""

    total: int
    in_use: int
    idle: int
    waiting: int


class Database:
    """The connection pool that `connect` opens."""

    def __init__(self, engine: AsyncEngine, settings: DatabaseSettings, role: Role | None) -> None:
        self._engine = engine
        self._of_a_tenant = (role or Role.GATEWAY).of_a_tenant
        self._settings = settings
        self._waiting = 0
        self._open = 0
        event.listen(engine.sync_engine, "connect", lambda *_: self._count(1))
        event.listen(engine.sync_engine, "close", lambda *_: self._count(-1))

    @property
    def _tenant_role(self) -> str:
        if self._of_a_tenant is None:
            raise RuntimeError("this service has no role for statements on behalf of a tenant")
        return self._of_a_tenant

    def stats(self) -> PoolStats:
        """The current numbers of the pool; also exported as metrics."""
        pool: Any = self._engine.pool
        in_use: int = min(pool.checkedout(), self._open)
        return PoolStats(total=self._open, in_use=in_use, idle=self._open - in_use, waiting=self._waiting)

    async def fetch(
        self, sql: str, *args: object, tenant: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Rows:
        """Run one statement with `$1, $2, …` in its own transaction, and return its rows, if any.

        With `tenant`, it sees only the rows of that tenant. Raises Unavailable if the server cannot be reached or
        does not reply within `timeout_s` seconds; the statement may then have run or not.
        """
        async with self._connection() as connection:
            driver = await _driver(connection)
            try:
                if tenant is None:
                    rows: Rows = await driver.fetch(sql, *args, timeout=timeout_s)
                else:
                    async with _as_tenant(driver, self._tenant_role, tenant):
                        rows = await driver.fetch(sql, *args, timeout=timeout_s)
            except LOST as error:
                await connection.invalidate()
                raise Unavailable(f"PostgreSQL: {message_of(error)}") from error
            return rows

    @asynccontextmanager
    async def begin(self, *, tenant: str | None = None) -> AsyncIterator[AsyncConnection]:
        """Open a transaction. It commits when the block ends, and rolls back when the block raises.

        With `tenant`, it sees only the rows of that tenant. Raises Unavailable.
        """
        async with self._connection() as connection:
            await _driver(connection)
            try:
                async with connection.begin():
                    if tenant is not None:
                        await fetch_within(connection, _ENTER_WITHIN, self._tenant_role, tenant)
                    yield connection
            except DBAPIError as error:
                cause = error.orig.__cause__ if error.orig is not None else None
                if error.connection_invalidated or isinstance(cause, LOST):
                    raise Unavailable(f"PostgreSQL: {cause or error}") from error
                raise
            except LOST as error:
                await connection.invalidate()
                raise Unavailable(f"PostgreSQL: {message_of(error)}") from error

    async def reachable(self) -> bool:
        """Whether the server executes a trivial statement now."""
        try:
            await self.fetch("SELECT 1")
        except Unavailable:
            return False
        return True

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        requested_at = time.perf_counter()
        self._waiting += 1
        try:
            connection = await self._engine.connect()
        except (*LOST, DBAPIError, PoolTimeout) as error:
            raise Unavailable(f"PostgreSQL: {message_of(error)}") from error
        finally:
            self._waiting -= 1
        metrics.db_wait_seconds.observe(time.perf_counter() - requested_at)
        try:
            yield connection
        finally:
            if not connection.invalidated:
                connection.info["used_at"] = time.monotonic()
            await connection.close()

    def _count(self, change: int) -> None:
        self._open += change

    async def _keep_minimum(self) -> None:
        """Open connections until there are `db_min_connections`."""
        wanted = self._settings.db_min_connections - self.stats().in_use
        async with AsyncExitStack() as held:
            for _ in range(wanted):
                connection = await held.enter_async_context(self._engine.connect())
                connection.info.setdefault("used_at", time.monotonic())

    async def _close_idle(self) -> None:
        """Close connections that have been idle too long, down to the minimum, the least recently used first."""
        expired = time.monotonic() - self._settings.db_idle_timeout / 1000
        async with AsyncExitStack() as held:
            idle = range(self.stats().idle)
            connections = [await held.enter_async_context(self._engine.connect()) for _ in idle]
            for connection in connections[self._settings.db_min_connections :]:
                if connection.info["used_at"] <= expired:
                    await connection.invalidate()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self._close_idle()
                await self._keep_minimum()
            except (*LOST, DBAPIError, PoolTimeout):
                continue  # the server is unreachable; callers get their own errors

    def _export(self) -> None:
        for state in ("total", "in_use", "idle", "waiting"):
            metrics.db_connections.labels(state).set_function(
                lambda state=state: getattr(self.stats(), state)  # type: ignore[misc]
            )


async def fetch_within(connection: Connection, sql: str, *args: object) -> Rows:
    """Run one statement with `$1, $2, …` in the transaction of `connection`, and return its rows, if any."""
    result = await connection.exec_driver_sql(sql, args)
    return list(result.all()) if result.returns_rows else []


@asynccontextmanager
async def _as_tenant(driver: Any, role: str, tenant: str) -> AsyncIterator[None]:
    """Open a transaction as `tenant`. It sends three messages to the server; asyncpg's own would send four."""
    if "\x00" in tenant:
        raise ValueError("a tenant's name must not contain NUL")
    try:
        await driver.execute(_ENTER.format(role, tenant.replace("'", "''")))
        yield
        await driver.execute("COMMIT")
    except asyncpg.PostgresError as error:
        if not isinstance(error, LOST):
            await driver.execute("ROLLBACK")
        raise
    except BaseException:  # cancelled halfway: the open transaction must not go back to the pool
        driver.terminate()
        raise


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's connection behind `connection`; a new one if the server closed it while it was idle."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not driver.is_closed():
        return driver
    await connection.invalidate()
    try:
        return (await connection.get_raw_connection()).driver_connection
    except (*LOST, DBAPIError, PoolTimeout) as error:
        raise Unavailable(f"PostgreSQL: {message_of(error)}") from error


async def _probe(database: Database) -> None:
    try:
        await database.fetch("SELECT 1")
    except Unavailable as error:  # log it, as the process goes on waiting: the password may be wrong
        logger.warning("database.waiting", error=str(error))
        raise


@asynccontextmanager
async def connect(
    settings: DatabaseSettings, name: str, *, role: Role | None, patience_s: float | None = None
) -> AsyncIterator[Database]:
    """Open the connection pool of process `name` and close it after the block.

    Waits for a server that is not up yet or has not been migrated, for at most `patience_s` seconds (None: without
    limit), then raises Unavailable. `name` shows in pg_stat_activity. The process acts as `role` (None: as the
    user that it logs in as).
    """
    timeout_s = settings.db_connection_timeout / 1000
    role_setting = {} if role is None else {"role": role.name}

    async def open_connection() -> Any:
        try:
            return await asyncpg.connect(
                settings.database_url.get_secret_value(),
                timeout=timeout_s,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings={
                    "application_name": f"argosy-{name}",
                    "idle_in_transaction_session_timeout": str(int(FROZEN_AFTER_S * 1000)),
                    # Plans are cached: one made for a small table would still scan all of it when it is large.
                    "enable_seqscan": "off",
                    "jit": "off",  # it is decided by cost, and a disabled scan has an enormous cost
                    **role_setting,
                },
            )
        except asyncpg.InvalidParameterValueError as error:
            raise ConnectionError(f"{error}: has the database been migrated?") from error

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=open_connection,
        pool_size=settings.db_max_connections,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_use_lifo=True,
        hide_parameters=True,  # keeps callers' data out of error messages
        json_deserializer=from_json,  # orjson turns integers beyond 64 bits into floats
    )
    database = Database(engine, settings, role)
    try:
        await until_available(lambda: _probe(database), patience_s=patience_s)
        await database._keep_minimum()
        database._export()
        async with background.alongside(background.optional(database._sweep_forever())):
            yield database
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                await engine.dispose()

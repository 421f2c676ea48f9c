"""The PostgreSQL connection pool of a process.

At least `db_min_connections` stay open and at most `db_max_connections` exist. The connection used last is used
next. Once a minute, connections that have been idle for `db_idle_timeout` are closed.

There are three ways to use the pool. `fetch` runs a single statement directly on asyncpg; the statement is its own
transaction, and hot paths send whole batches in one. `begin` opens a SQLAlchemy transaction. `copy` reads a result
that may be larger than memory, and several of them as of one moment within a `snapshot`.

A process acts as a role that owns no tables (`Role`), so row-level security applies to it, whichever user it logs
in as. With `tenant`, a statement runs as a role that can read and write only that tenant's rows.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError

from libs.common import background, log
from libs.common.backoff import until_available
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import Role as Role
from libs.common.db_copy import Copy as Copy
from libs.common.db_copy import CopyAs as CopyAs
from libs.common.db_copy import Snapshot as Snapshot
from libs.common.db_copy import chunks_of
from libs.common.db_opening import LOST, Driver, Servers
from libs.common.db_pool import Connection as Connection
from libs.common.db_pool import Pool, cause_of
from libs.common.db_pool import PoolStats as PoolStats
from libs.common.errors import Misconfigured, Unavailable

PROMPT_S = 5.0
"""For statements that callers or a queue wait for: claims, look-ups by key, the rounds of the dispatcher."""
STATEMENT_S = 15.0
"""For statements that say nothing else."""
LONG_S = 60.0
"""For statements that read or change much and that nobody waits for."""
FROZEN_AFTER_S = 15.0
"""A process that leaves a transaction idle for this long is taken for frozen. The server ends the session, which
releases its locks."""

logger = log.get("database")

Rows = list[Any]


_ENTER = "SET LOCAL ROLE {}; SELECT set_config('argosy.tenant', '{}', true)"
_ENTER_WITHIN = "SELECT set_config('role', $1, true), set_config('argosy.tenant', $2, true)"
"""Role and tenant apply to this transaction only: a connection in the pool belongs to no tenant."""
# Two statements of READ COMMITTED would see two moments.
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_IDLE = "SET LOCAL idle_in_transaction_session_timeout = {:d}"
# Here a scan may be right, as nobody keeps the plan.
_AS_COPIES = "SET LOCAL enable_seqscan = on; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'"
_EXPORT = "SELECT pg_export_snapshot(), pg_current_snapshot()::text, now()"
_IMPORT = "SET TRANSACTION SNAPSHOT '{}'"
_SNAPSHOT_GONE = (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError)
"""What the server answers with who would take over a snapshot whose session has ended."""


class Database:
    """The connection pool that `connect` opens."""

    def __init__(self, pool: Pool, role: Role | None) -> None:
        self._pool = pool
        self._role = "none" if role is None else role.name
        self._of_a_tenant = (role or Role.GATEWAY).of_a_tenant

    @property
    def _tenant_role(self) -> str:
        if self._of_a_tenant is None:
            raise RuntimeError("this service has no role for statements on behalf of a tenant")
        return self._of_a_tenant

    @property
    def max_connections(self) -> int:
        """How many connections there may be at the same time."""
        return self._pool.max_connections

    def stats(self) -> PoolStats:
        """The current numbers of the pool; also exported as metrics."""
        return self._pool.stats()

    async def fetch(
        self, sql: str, *args: object, tenant: str | None = None, timeout_s: float | None = None
    ) -> Rows:
        """Run one statement with `$1, $2, …` in its own transaction, and return its rows, if any.

        With `tenant`, it sees only the rows of that tenant. Raises Unavailable if there is no connection within
        `timeout_s` seconds, or no reply within as many more; the statement may then have run or not. Without
        `timeout_s`, these are `db_connection_timeout` and STATEMENT_S.
        """
        async with self._pool.borrowed(timeout_s) as (_, driver):
            loop = asyncio.get_running_loop()
            until = loop.time() + (timeout_s or STATEMENT_S)
            try:
                if tenant is None:
                    rows: Rows = await driver.fetch(sql, *args, timeout=until - loop.time())
                else:
                    async with _as_tenant(driver, self._tenant_role, tenant, lambda: until - loop.time()):
                        rows = await driver.fetch(sql, *args, timeout=until - loop.time())
                driver.check()
            except LOST as error:
                raise self._pool.lost(driver, error) from error
            except asyncpg.PostgresError:
                raise  # the server has answered
            except BaseException:  # cancelled half way, for example
                driver.reusable = False
                raise
            return rows

    @asynccontextmanager
    async def begin(
        self, *, tenant: str | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Connection]:
        """Open a transaction. It commits when the block ends, and rolls back when the block raises.

        With `tenant`, it sees only the rows of that tenant. Each statement has STATEMENT_S; with `timeout_s`, the
        whole transaction loses its connection after so many seconds. Raises Unavailable.
        """
        async with self._pool.borrowed(timeout_s) as (connection, driver):
            try:
                transaction = connection.begin()
                async with self._at_most(timeout_s, driver), transaction, self._answered(connection, driver):
                    if tenant is not None:
                        await fetch_within(connection, _ENTER_WITHIN, self._tenant_role, tenant)
                    yield connection
                driver.check()
            except DBAPIError as error:
                cause = cause_of(error)
                if error.connection_invalidated or isinstance(cause, LOST):
                    raise self._pool.lost(driver, cause) from error
                raise
            except LOST as error:
                raise self._pool.lost(driver, error) from error

    @asynccontextmanager
    async def snapshot(self, *, timeout_s: float) -> AsyncIterator[Snapshot]:
        """Hold what is committed now, for as many `copy` as are wanted while the block runs.

        It takes a connection of its own, and has `timeout_s` seconds. Raises Unavailable.
        """
        async with self._pool.borrowed() as (_, driver):
            driver.reusable = False  # until its transaction has ended
            with self._noticing_loss(driver):
                until = asyncio.get_running_loop().time() + timeout_s
                await driver.execute("; ".join((_BEGIN_READING, _idle(timeout_s))), timeout=PROMPT_S)
                name, seen, as_of = await driver.fetchrow(_EXPORT, timeout=PROMPT_S)
            yield Snapshot(name, seen, as_of, until)
            with self._noticing_loss(driver):
                await driver.execute("COMMIT", timeout=PROMPT_S)
                driver.check()
            driver.reusable = True

    @asynccontextmanager
    async def copy(
        self,
        sql: str,
        *args: object,
        tenant: str | None = None,
        timeout_s: float,
        written: CopyAs = CopyAs.CSV,
        snapshot: Snapshot | None = None,
    ) -> AsyncIterator[Copy]:
        """Read the result of a query with `$1, $2, …` in chunks, while the block runs.

        With `tenant`, it sees only the rows of that tenant; with `snapshot`, what was committed then. Reading it
        in the block raises CopyTooSlow after `timeout_s` seconds. Raises Unavailable.
        """
        taken = [] if snapshot is None else [_IMPORT.format(snapshot.name)]
        enter = [] if tenant is None else [_entered(self._tenant_role, tenant)]
        async with self._pool.borrowed() as (_, driver):
            driver.reusable = False  # until all has been read
            with self._noticing_loss(driver):
                try:
                    await driver.execute("; ".join((_BEGIN_READING, *taken)), timeout=PROMPT_S)
                except _SNAPSHOT_GONE as error:
                    raise Unavailable("PostgreSQL: The snapshot has gone with its session.") from error
                # What has been sent may wait in buffers of the network: the server is idle meanwhile.
                await driver.execute("; ".join((_idle(timeout_s), _AS_COPIES, *enter)), timeout=PROMPT_S)

            def counted(rows: int) -> None:
                copy.rows = rows

            sent = chunks_of(driver, sql, args, timeout_s, written=written, counted=counted)
            async with aclosing(self._chunks(driver, sent)) as chunks:
                copy = Copy(chunks)
                yield copy

    async def _chunks(self, driver: Driver, sent: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        with self._noticing_loss(driver):
            async with aclosing(sent) as chunks:
                async for chunk in chunks:
                    yield chunk
            await driver.execute("COMMIT", timeout=PROMPT_S)
            driver.check()
        driver.reusable = True

    @contextmanager
    def _noticing_loss(self, driver: Driver) -> Iterator[None]:
        try:
            yield
        except LOST as error:
            raise self._pool.lost(driver, error) from error

    @asynccontextmanager
    async def as_tenant(self, connection: Connection, tenant: str) -> AsyncIterator[None]:
        """Work as `tenant` during the block, in a transaction that was opened without one.

        If the block raises, the transaction must be rolled back.
        """
        await fetch_within(connection, _ENTER_WITHIN, self._tenant_role, tenant)
        yield
        await fetch_within(connection, _ENTER_WITHIN, self._role, "")

    async def reachable(self) -> bool:
        """Whether the server executes a trivial statement now."""
        try:
            await self.fetch("SELECT 1", timeout_s=PROMPT_S)
        except Unavailable:
            return False
        return True

    @asynccontextmanager
    async def _at_most(self, seconds: float | None, driver: Driver) -> AsyncIterator[None]:
        """Close `driver` after `seconds`: whatever waits for an answer then raises one of LOST."""
        if seconds is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._pool.retire, driver)
        try:
            yield
        finally:
            timer.cancel()

    @asynccontextmanager
    async def _answered(self, connection: Connection, driver: Driver) -> AsyncIterator[None]:
        """A block in a transaction. If it ends while the server owes an answer, no rollback waits for that."""
        try:
            yield
        except BaseException as error:
            if isinstance(cause_of(error), (*LOST, asyncio.CancelledError)):
                self._pool.retire(driver)
                await connection.invalidate()
            raise


@asynccontextmanager
async def as_service(connection: Connection, role: Role, tenant: str) -> AsyncIterator[None]:
    """Work as the service of `role` during the block, in a transaction that works as `tenant`.

    If the block raises, the transaction must be rolled back.
    """
    await fetch_within(connection, _ENTER_WITHIN, role.name, "")
    yield
    await fetch_within(connection, _ENTER_WITHIN, role.of_a_tenant, tenant)


async def fetch_within(connection: Connection, sql: str, *args: object) -> Rows:
    """Run one statement with `$1, $2, …` in the transaction of `connection`, and return its rows, if any."""
    result = await connection.exec_driver_sql(sql, args)
    return list(result.all()) if result.returns_rows else []


def _idle(seconds: float) -> str:
    """A statement after which a transaction may be idle for so long."""
    return _IDLE.format(max(1, round(seconds * 1000)))  # 0 would be for ever


def _entered(role: str, tenant: str) -> str:
    """Statements after which a transaction is of `tenant`."""
    if "\x00" in tenant:
        raise ValueError("a tenant's name must not contain NUL")
    return _ENTER.format(role, tenant.replace("'", "''"))


@asynccontextmanager
async def _as_tenant(driver: Driver, role: str, tenant: str, left_s: Callable[[], float]) -> AsyncIterator[None]:
    """Open a transaction as `tenant`. It sends three messages to the server; asyncpg's own would send four."""
    entered = _entered(role, tenant)
    try:
        await driver.execute(f"BEGIN; {entered}", timeout=left_s())
        yield
        await driver.execute("COMMIT", timeout=left_s())
    except asyncpg.PostgresError as error:
        if not isinstance(error, LOST):
            await driver.execute("ROLLBACK", timeout=left_s())
        raise


async def _reach(database: Database) -> None:
    try:
        await database.fetch("SELECT 1", timeout_s=STATEMENT_S)
    except Unavailable as error:
        if isinstance(error.__cause__, Misconfigured):
            raise error.__cause__ from None
        logger.warning("database.waiting", error=str(error))
        raise


@asynccontextmanager
async def connect(
    settings: DatabaseSettings, name: str, *, role: Role | None, patience_s: float | None = None
) -> AsyncIterator[Database]:
    """Open the connection pool of process `name` and close it after the block.

    Waits for a server that is not up yet or has not been migrated, for at most `patience_s` seconds (None: without
    limit), then raises Unavailable. Raises Misconfigured at once if the server will never take this login. `name`
    shows in pg_stat_activity. The process acts as `role` (None: as the user that it logs in as).
    """
    session = {
        "application_name": f"argosy-{name}",
        "idle_in_transaction_session_timeout": str(int(FROZEN_AFTER_S * 1000)),
        # Plans are cached: one made for a small table would still scan all of it when it is large.
        "enable_seqscan": "off",
        "jit": "off",  # it is decided by cost, and a disabled scan has an enormous cost
    } | ({} if role is None else {"role": role.name})
    servers = Servers(
        settings.database_url.get_secret_value(),
        session,
        timeout_s=settings.db_connection_timeout / 1000,
        command_timeout_s=STATEMENT_S,
    )
    pool = Pool(servers, settings)
    database = Database(pool, role)
    try:
        await until_available(lambda: _reach(database), patience_s=patience_s)
        await pool.keep_minimum()
        pool.export()
        async with background.alongside(background.optional(pool.sweep_forever())):
            yield database
    finally:
        await pool.close()

"""Opens connections to PostgreSQL: to the first host that takes writes, and checked before anybody uses them.

A silent host never answers, so the others are not left until its time is over: each next one is asked when those
before have refused or have said nothing for HEAD_START_S. The first that takes writes wins.

A pooler such as PgBouncer may drop or refuse the settings of a session. They are set again if the session stays
with its connection. If the pooler gives sessions to others between two transactions, it is refused: a statement
could run with the role of another process.
"""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from libs.common import background
from libs.common.errors import Misconfigured

HEAD_START_S = 1.0
SILENT_AFTER_S = 10.0
"""A server whose network acknowledges nothing for this long has gone."""
MAX_AGE_S = 600.0
"""A connection older than this is not used again. It is also how long one may lead to a server that has been
replaced without anybody noticing."""
CLOSED_WITHIN_S = 2.0
"""How long a connection may take to close, including the cancel of a statement that still runs."""

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
FOR_GOOD = (
    asyncpg.InvalidAuthorizationSpecificationError,  # user or password is wrong, or the user may not log in
    asyncpg.InvalidCatalogNameError,  # there is no such database
)
"""The errors of the server after which no retry succeeds."""
_UNREADABLE = "DATABASE_URL cannot be read. It must look like postgresql://user:password@host:port/name"
_SHARED = (
    "DATABASE_URL leads to PgBouncer in transaction mode, or to a pooler like it. Others would get the role and "
    "settings of this process there. Set pool_mode = session, or connect to PostgreSQL itself."
)
_SELF = "SELECT current_user::text, pg_backend_pid()"
_SET = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS settings (name, value)"


class Driver(asyncpg.Connection):  # type: ignore[misc]
    """A connection, and what its pool must know of it. Times are those of time.monotonic()."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.used_at = time.monotonic()
        # A share is random, so that the connections of a fleet do not all end at once.
        self.expires_at = self.used_at + MAX_AGE_S * random.uniform(0.8, 1.0)  # noqa: S311 - protects no secret
        self.generation = 0
        self.in_use = False
        self.reusable = True
        """False once a statement may still run, or a transaction may still be open."""
        self.leaving = False
        self._replicated = True
        self.add_log_listener(self._notice)

    def check(self) -> None:
        """Raise ConnectionError if what this connection has just answered may be gone after a failover."""
        if not self._replicated:
            raise ConnectionError("the commit no longer waited for a standby: it may be on this server only")
        # The server tells every change of this setting together with its next answer.
        if getattr(self.get_settings(), "default_transaction_read_only", "off") == "on":
            raise ConnectionError("the server no longer takes writes")

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Close it, unless `leave` does so already."""
        if not self.leaving:
            await super().close(timeout=timeout)

    async def leave(self) -> None:
        """Close it within CLOSED_WITHIN_S, and cancel what still runs, which takes a connection of its own."""
        self.leaving = True
        with suppress(*LOST):
            await super().close(timeout=CLOSED_WITHIN_S)

    def _notice(self, _connection: object, message: Any) -> None:
        """A wait for a standby that is cancelled on the server ends with a warning, not with an error."""
        if message.server_source_function == "SyncRepWaitForLSN":
            self._replicated = False


class Servers:
    """The server at `url`, or the several hosts of which one takes writes.

    `settings` are those of each session; `role` among them is checked. `timeout_s` is for opening a connection,
    `command_timeout_s` for a statement that names no timeout of its own.
    """

    def __init__(
        self, url: str, settings: Mapping[str, str], *, timeout_s: float, command_timeout_s: float | None = None
    ) -> None:
        self._urls = urls_of(url)
        self._settings = dict(settings)
        self._timeout_s = timeout_s
        self._command_timeout_s = command_timeout_s
        self._keeps_sessions = False

    async def open(self) -> Driver:
        """A new connection. Raises Misconfigured if no retry can help, else one of LOST."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await first_to_answer([partial(self._open_at, url) for url in self._urls])
        except FOR_GOOD as error:
            raise Misconfigured(f"DATABASE_URL: the server refuses: {error}") from error
        except asyncpg.InvalidParameterValueError as error:
            raise ConnectionError(f"{error}: has the database been migrated?") from error
        except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
            raise Misconfigured(_SHARED) from error
        except ValueError as error:  # asyncpg.ClientConfigurationError is one. Its text may contain the password.
            raise Misconfigured(_UNREADABLE) from error

    async def _open_at(self, url: str) -> Driver:
        driver, is_set = await self._connect(url)
        try:
            _notice_silence(driver)
            user, process = await driver.fetchrow(_SELF)
            pooled = process != driver.get_server_pid()
            if pooled and not self._keeps_sessions:
                await self._refuse_shared_sessions(driver, url)
            if pooled or not is_set:
                await driver.fetch(_SET, list(self._settings), list(self._settings.values()))
                user, _ = await driver.fetchrow(_SELF)
            check_role(user, self._settings.get("role"))
        except BaseException:
            driver.terminate()
            raise
        self._urls.sort(key=lambda other: other != url)  # it is asked first from now on
        return driver

    async def _connect(self, url: str) -> tuple[Driver, bool]:
        """A connection, and whether the server has taken the settings."""

        async def connect(settings: Mapping[str, str]) -> Driver:
            connection: Driver = await asyncpg.connect(
                url,
                connection_class=Driver,
                timeout=self._timeout_s,
                command_timeout=self._command_timeout_s,
                target_session_attrs="read-write",
                server_settings=settings,
            )
            return connection

        try:
            return await connect(self._settings), True
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            return await connect({}), False

    async def _refuse_shared_sessions(self, first: Driver, url: str) -> None:
        """Raise Misconfigured if the pooler in between gives the session of `first` to others."""
        second, _ = await self._connect(url)
        try:
            if await share_sessions(first, second):
                raise Misconfigured(_SHARED)
            self._keeps_sessions = True
        except asyncpg.ConnectionDoesNotExistError as error:
            if "pooling mode" not in str(error):  # PgBouncer says so where it allows no transactions at all
                raise
            raise Misconfigured(_SHARED) from error
        finally:
            second.terminate()


def urls_of(url: str) -> list[str]:
    """The address of each host of `url`."""
    parts = urlsplit(url)
    login, at, places = parts.netloc.rpartition("@")
    if "," not in places:
        return [url]
    return [parts._replace(netloc=f"{login}{at}{place}").geturl() for place in places.split(",")]


async def first_to_answer(openings: Sequence[Callable[[], Awaitable[Driver]]]) -> Driver:
    """The connection of the first of `openings` that succeeds. Raises the error that says most if none does."""
    waiting, running, errors = list(openings), set[asyncio.Task[Driver]](), list[BaseException]()
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(waiting.pop(0)()))
            done, _ = await asyncio.wait(
                running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    running.discard(task)
                    return task.result()
                running.discard(task)
                errors.append(error)
    finally:
        await _abandon(running)
    raise next((error for error in errors if isinstance(error, (Misconfigured, *FOR_GOOD))), errors[0])


async def _abandon(openings: set[asyncio.Task[Driver]]) -> None:
    await background.end(openings)
    for opening in openings:
        if not opening.cancelled() and opening.exception() is None:
            opening.result().terminate()


async def share_sessions(first: Driver, second: Driver) -> bool:
    """Whether the two connections have the same session, or one of them another than before.

    A pooler that gives sessions to others gives `second` the one that `first` has just left, or `first` another
    one as long as `second` keeps it.
    """
    before = await first.fetchrow(_SELF)
    async with second.transaction():
        others = await second.fetchrow(_SELF)
        return bool(others == before or await first.fetchrow(_SELF) != before)


def check_role(user: str, role: str | None) -> None:
    """Raise Misconfigured if the server has made us `user` though we work as `role` (None: as our login)."""
    if user != (role or user):
        raise Misconfigured(
            f"DATABASE_URL: the server has made this process {user}, not {role}. Something in between, such as "
            f"PgBouncer, has dropped the setting `role`."
        )


def _notice_silence(driver: Driver) -> None:
    """Let the system close the connection if nothing is acknowledged for SILENT_AFTER_S, also while it is idle."""
    connection = driver._transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": SILENT_AFTER_S / 2,
        "TCP_KEEPINTVL": SILENT_AFTER_S / 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": SILENT_AFTER_S * 1000,
    }
    for name, value in options.items():
        if hasattr(socket, name):  # not every platform has each
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(value))

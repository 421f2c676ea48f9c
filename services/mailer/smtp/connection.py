"""The pool of connections to SMTP relays. The only module that imports aiosmtplib."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPHeloError

from libs.common import log
from libs.common.errors import ArgosyError
from services.mailer.smtp.dialogue import Dialogue, Envelope, Reply, SmtpWire

MESSAGES_PER_CONNECTION = 100
"""After this many a new connection is opened: relays count messages, and some begin to refuse them."""
MESSAGES_PER_LEASE = 25
"""After this many a connection goes back to the pool, so that another job can have it."""
IDLE_AT_MOST_S = 25.0
"""Connections idle for longer are not reused. Some relays close them after 30 s, so sending would fail."""
RECONNECT_S, RECONNECT_AT_MOST_S = 1.0, 30.0
"""How long to wait before connecting again to a relay that could not be reached. Doubles with each failure."""
EXTENSIONS = ("pipelining", "smtputf8")

logger = log.get("smtp")


class Unreachable(ArgosyError):
    """No relay can be reached. `after_s`: seconds to wait before another try."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Connection:
    """An open connection to the relay named `relay`. It sends one message at a time."""

    def __init__(self, relay: str, smtp: SMTP, timeout_s: float) -> None:
        assert smtp.protocol is not None  # noqa: S101 - it has just connected
        transport = cast(asyncio.Transport, smtp.protocol.transport)
        offered = frozenset(name for name in EXTENSIONS if smtp.supports_extension(name))
        self.relay = relay
        self._opened_by = smtp
        self._dialogue = Dialogue(SmtpWire(transport), offered, timeout_s)
        self._sent = 0
        self._used_at = time.monotonic()

    @property
    def reusable(self) -> bool:
        """Whether another message can be sent over this connection now."""
        is_fresh = time.monotonic() - self._used_at < IDLE_AT_MOST_S
        return self._dialogue.is_open and self._sent < MESSAGES_PER_CONNECTION and is_fresh

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Send a message. See Dialogue.send."""
        self._sent += 1
        reply = await self._dialogue.send(envelope, before_end)
        self._used_at = time.monotonic()
        return reply

    async def close(self) -> None:
        """Send QUIT if the connection is idle, and close it."""
        await self._dialogue.quit()


class Relay:
    """One relay, with a pool of at most `connections` connections to it. Raises ValueError for a wrong URL."""

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in ("smtp", "smtps") or not self._url.hostname:
            raise ValueError("MAIL_RELAYS: smtp://host:port or smtps://host:port")
        self.name = f"{self._url.hostname}:{self._url.port or 25}"
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._failures = 0
        self._reconnect_at = 0.0

    @property
    def reconnect_in_s(self) -> float:
        """Seconds until a new connection may be tried. 0 or less: now."""
        return self._reconnect_at - time.monotonic()

    async def acquire(self) -> Connection:
        """Wait for a free connection. The caller must release it. Raises Unreachable."""
        await self._free.acquire()
        try:
            return await self._reuse_or_open()
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: Connection) -> None:
        """Return a connection to the pool, or close it if it cannot be reused."""
        try:
            if connection.reusable:
                self._idle.append(connection)
            else:
                await connection.close()
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            await self._idle.pop().close()

    async def _reuse_or_open(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            await connection.close()
        if self.reconnect_in_s > 0:
            raise Unreachable(f"{self.name} could not be reached a moment ago.", self.reconnect_in_s)
        smtp = self._client()
        try:
            await smtp.connect()
            await _say_hello(smtp)
        except (SMTPException, OSError, ValueError) as error:
            smtp.close()
            if self.reconnect_in_s <= 0:
                wait_s = min(RECONNECT_AT_MOST_S, RECONNECT_S * 2.0 ** min(self._failures, 10))
                self._reconnect_at = time.monotonic() + wait_s
                self._failures += 1
                logger.warning("relay.unreachable", relay=self.name, error=str(error))
            raise Unreachable(f"{self.name}: {error}", max(self.reconnect_in_s, 0.1)) from error
        self._failures = 0
        return Connection(self.name, smtp, self._timeout_s)

    def _client(self) -> SMTP:
        url = self._url
        tls = parse_qs(url.query).get("tls", ["auto"])[0]
        return SMTP(
            hostname=url.hostname,
            port=url.port,
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            use_tls=url.scheme == "smtps",
            start_tls={"required": True, "off": False}.get(tls),
            timeout=self._timeout_s,
        )


async def _say_hello(smtp: SMTP) -> None:
    """Send EHLO and learn the relay's extensions, unless STARTTLS or the login has done so already."""
    if smtp.is_ehlo_or_helo_needed:
        try:
            await smtp.ehlo()
        except SMTPHeloError:  # a relay from before EHLO (1995)
            await smtp.helo()


class Relays:
    """All relays, in order of preference."""

    def __init__(self, urls: Sequence[str], *, connections: int, timeout_s: float) -> None:
        self._relays = [Relay(url, connections=connections, timeout_s=timeout_s) for url in urls]
        if not self._relays:
            raise ValueError("MAIL_RELAYS names no relay")

    async def acquire(self) -> tuple[Relay, Connection]:
        """Get a connection to the first relay that can be reached. Raises Unreachable."""
        failures: list[Unreachable] = []
        for relay in self._relays:
            try:
                return relay, await relay.acquire()
            except Unreachable as failure:
                failures.append(failure)
        raise min(failures, key=lambda failure: failure.after_s)

    async def close(self) -> None:
        """Close all idle connections."""
        for relay in self._relays:
            await relay.close()


class ConnectionLease:
    """The connection that one sender holds. It is reused for up to MESSAGES_PER_LEASE messages, then exchanged."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._held: tuple[Relay, Connection] | None = None
        self._used = 0

    @property
    def is_held(self) -> bool:
        """Whether a connection is held."""
        return self._held is not None

    async def connection(self) -> Connection:
        """Return the connection for the next message. Raises Unreachable."""
        if self._held is not None:
            connection = self._held[1]
            if connection.reusable and self._used < MESSAGES_PER_LEASE:
                self._used += 1
                return connection
            await self.release()
        self._held = await self._relays.acquire()
        self._used = 1
        return self._held[1]

    async def release(self) -> None:
        """Return the connection to the pool, so that others can have it."""
        if self._held is not None:
            (relay, connection), self._held = self._held, None
            await relay.release(connection)

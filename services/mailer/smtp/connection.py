"""Relays, and the connections to them. The only module that knows aiosmtplib."""

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

MAILS_A_CONNECTION = 100
"""Then a new one: relays count, and some turn sour."""
MAILS_A_TURN = 25
"""Over one connection, before another job may have it."""
IDLE_AT_MOST_S = 25.0
"""Relays close idle connections, some after half a minute; one that may be closed is not worth a doubt."""
COOL_S, COOL_AT_MOST_S = 1.0, 30.0
"""How long a relay that cannot be reached is left alone; doubles each time."""
EXTENSIONS = ("pipelining", "smtputf8")

logger = log.get("smtp")


class Unreachable(ArgosyError):
    """No relay can be reached. `after_s`: until it is worth another try."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Connection:
    """A connection to the relay of that name, for one message at a time."""

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
        """Whether another message may go over it, now."""
        is_fresh = time.monotonic() - self._used_at < IDLE_AT_MOST_S
        return self._dialogue.is_open and self._sent < MAILS_A_CONNECTION and is_fresh

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """See Dialogue.send."""
        self._sent += 1
        reply = await self._dialogue.send(envelope, before_end)
        self._used_at = time.monotonic()
        return reply

    async def close(self) -> None:
        """Say goodbye if it is still polite to."""
        await self._dialogue.quit()


class Relay:
    """A server that takes mail, and at most `connections` connections to it."""

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in ("smtp", "smtps") or not self._url.hostname:
            raise ValueError("MAIL_RELAYS: smtp://host:port or smtps://host:port")
        self.name = f"{self._url.hostname}:{self._url.port or 25}"
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._failures = 0
        self._cool_until = 0.0

    @property
    def cool_for_s(self) -> float:
        """Seconds for which it is to be left alone; 0 or less: it is not."""
        return self._cool_until - time.monotonic()

    async def acquire(self) -> Connection:
        """One that is free; `release` must follow. Raises Unreachable."""
        await self._free.acquire()
        try:
            return await self._take()
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: Connection) -> None:
        """Somebody else may have it."""
        try:
            if connection.reusable:
                self._idle.append(connection)
            else:
                await connection.close()
        finally:
            self._free.release()

    async def close(self) -> None:
        """All of them."""
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            await connection.close()
        if self.cool_for_s > 0:
            raise Unreachable(f"{self.name} could not be reached a moment ago.", self.cool_for_s)
        smtp = self._client()
        try:
            await smtp.connect()
            await _introduce(smtp)
        except (SMTPException, OSError, ValueError) as error:
            smtp.close()
            if self.cool_for_s <= 0:
                self._cool_until = time.monotonic() + min(COOL_AT_MOST_S, COOL_S * 2.0 ** min(self._failures, 10))
                self._failures += 1
                logger.warning("relay.unreachable", relay=self.name, error=str(error))
            raise Unreachable(f"{self.name}: {error}", max(self.cool_for_s, 0.1)) from error
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


async def _introduce(smtp: SMTP) -> None:
    """Greet, and hear what the relay offers, unless TLS or a login has needed that already."""
    if smtp.is_ehlo_or_helo_needed:
        try:
            await smtp.ehlo()
        except SMTPHeloError:  # from before 1995
            await smtp.helo()


class Relays:
    """All relays, the preferred first."""

    def __init__(self, urls: Sequence[str], *, connections: int, timeout_s: float) -> None:
        self._relays = [Relay(url, connections=connections, timeout_s=timeout_s) for url in urls]
        if not self._relays:
            raise ValueError("MAIL_RELAYS names no relay")

    async def acquire(self) -> tuple[Relay, Connection]:
        """A connection to the first relay that can be reached. Raises Unreachable."""
        failures: list[Unreachable] = []
        for relay in self._relays:
            try:
                return relay, await relay.acquire()
            except Unreachable as failure:
                failures.append(failure)
        raise min(failures, key=lambda failure: failure.after_s)

    async def close(self) -> None:
        """All connections."""
        for relay in self._relays:
            await relay.close()


class ConnectionLease:
    """A sender's way to the relays. It keeps the connection that it has while it has mail for it, for a turn."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._held: tuple[Relay, Connection] | None = None
        self._used = 0

    @property
    def is_held(self) -> bool:
        """Whether it has a connection."""
        return self._held is not None

    async def connection(self) -> Connection:
        """One for the next message. Raises Unreachable."""
        if self._held is not None:
            connection = self._held[1]
            if connection.reusable and self._used < MAILS_A_TURN:
                self._used += 1
                return connection
            await self.leave()
        self._held = await self._relays.acquire()
        self._used = 1
        return self._held[1]

    async def leave(self) -> None:
        """Let others have the connection."""
        if self._held is not None:
            (relay, connection), self._held = self._held, None
            await relay.release(connection)

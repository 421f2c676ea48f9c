"""Relays, the connections to them, and the dialogue. The only module that knows aiosmtplib.

SMTP has no idempotency: whoever dies between the end of the data and the answer cannot know (RFC 1047). So the
dialogue says in which phase it failed, and asks before it ends the data: up to there a failure is safe to repeat.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException, SMTPTimeoutError

from libs.common import log
from libs.common.errors import ArgosyError

MAILS_A_CONNECTION = 100
"""Then a new one: relays count, and some turn sour."""
IDLE_AT_MOST_S = 25.0
"""Relays close idle connections, some after half a minute; one that may be closed is not worth a doubt."""
COOL_S, COOL_AT_MOST_S = 1.0, 30.0
"""How long a relay that cannot be reached is left alone; doubles each time."""
BUFFERED_BYTES, DRAIN_LOOK_S = 64 * 1024, 0.005
"""Of a large message so much may be on this side still; then looks are taken whether the relay has read on."""
START_INPUT, CLOSING = 354, 421
ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")

logger = log.get("smtp")


class Phase(StrEnum):
    """How far a message had come."""

    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "body"
    END = "end of data"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message for one recipient. `content`: with CRLF, as it is stored and signed."""

    sender: str
    recipient: str
    content: bytes

    @property
    def is_international(self) -> bool:
        """Whether an address needs SMTPUTF8 (RFC 6531)."""
        return not (self.sender.isascii() and self.recipient.isascii())


@dataclass(frozen=True, slots=True)
class Reply:
    """The last that was heard of a message: the answer to `phase`, or why there is none (`code` None)."""

    phase: Phase
    code: int | None
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463)."""
        found = ENHANCED.match(self.text)
        return found[1] if found else None

    @property
    def accepted(self) -> bool:
        """The relay has the message."""
        return self.phase is Phase.END and self.code is not None and self.code < 300

    @property
    def refused(self) -> bool:
        """For good."""
        return self.code is not None and self.code >= 500

    @property
    def in_doubt(self) -> bool:
        """The relay may have the message, or not."""
        return self.phase is Phase.END and self.code is None


class Unreachable(ArgosyError):
    """No relay can be reached. `after_s`: until it is worth another try."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Connection:
    """A connection to a relay, for one message at a time."""

    def __init__(self, smtp: SMTP) -> None:
        self._smtp = smtp
        self.used = 0
        self.used_at = time.monotonic()
        self._is_clean = True

    @property
    def reusable(self) -> bool:
        """Whether another message may go over it, now."""
        return (
            self._is_clean
            and self._smtp.is_connected
            and self.used < MAILS_A_CONNECTION
            and time.monotonic() - self.used_at < IDLE_AT_MOST_S
        )

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Hand a message over. `before_end` is called when all but the end of the data has been sent.

        Where it raises, the end is not sent, and the connection is closed.
        """
        self.used += 1
        self._is_clean = False  # until it has been seen to the end
        phase = Phase.MAIL
        try:
            if envelope.is_international:
                await self._smtp.mail(envelope.sender, options=["SMTPUTF8"], encoding="utf-8")
                phase = Phase.RCPT
                await self._smtp.rcpt(envelope.recipient, encoding="utf-8")
            else:
                await self._smtp.mail(envelope.sender)
                phase = Phase.RCPT
                await self._smtp.rcpt(envelope.recipient)
            phase = Phase.DATA
            ready = await self._smtp.execute_command(b"DATA")
            if ready.code != START_INPUT:
                raise SMTPResponseException(ready.code, ready.message)
            phase = Phase.BODY
            await self._write(_stuffed(envelope.content))
            await before_end()
            self._still_there()
            phase = Phase.END
            reply = await self._end_data()
        except SMTPResponseException as refusal:
            await self._reset(refusal.code)
            return Reply(phase, refusal.code, refusal.message)
        except SMTPTimeoutError:
            return Reply(phase, None, f"no answer to {phase}")
        except (SMTPException, OSError) as error:
            return Reply(phase, None, f"connection lost at {phase}: {error}")
        except (ValueError, UnicodeError) as error:  # an address that must not go into a command
            return Reply(phase, 553, f"5.1.3 {error}")
        self.used_at = time.monotonic()
        self._is_clean = reply.code != CLOSING
        return reply

    async def close(self) -> None:
        """Say goodbye if it is still polite to."""
        if self._is_clean and self._smtp.is_connected:
            with suppress(SMTPException, OSError):
                await self._smtp.quit(timeout=2)
        self._smtp.close()

    def _still_there(self) -> None:
        if self._smtp.protocol is None or not self._smtp.protocol.is_connected:
            raise ConnectionResetError("the relay closed the connection")

    async def _write(self, content: bytes) -> None:
        """Write, waiting where the relay is slower. Raises OSError."""
        self._still_there()
        assert self._smtp.protocol is not None  # noqa: S101 - just looked
        transport = cast(asyncio.WriteTransport, self._smtp.protocol.transport)
        transport.write(content)
        async with asyncio.timeout(self._smtp.timeout):
            while transport.get_write_buffer_size() > BUFFERED_BYTES:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(DRAIN_LOOK_S)

    async def _end_data(self) -> Reply:
        protocol = self._smtp.protocol
        assert protocol is not None  # noqa: S101 - just looked
        protocol.write(b".\r\n")
        answer = await protocol.read_response(timeout=self._smtp.timeout)
        return Reply(Phase.END, answer.code, answer.message)

    async def _reset(self, code: int) -> None:
        """After a refusal: the connection is as new, unless the relay is closing it."""
        if code == CLOSING or not self._smtp.is_connected:
            return
        with suppress(SMTPException, OSError):
            await self._smtp.rset()
            self.used_at = time.monotonic()
            self._is_clean = True


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

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One that is free, for the block. Raises Unreachable."""
        async with self._free:
            connection = await self._take()
            try:
                yield connection
            finally:
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    await connection.close()

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
        except (SMTPException, OSError, ValueError) as error:
            smtp.close()
            if self.cool_for_s <= 0:
                self._cool_until = time.monotonic() + min(COOL_AT_MOST_S, COOL_S * 2.0 ** min(self._failures, 10))
                self._failures += 1
                logger.warning("relay.unreachable", relay=self.name, error=str(error))
            raise Unreachable(f"{self.name}: {error}", max(self.cool_for_s, 0.1)) from error
        self._failures = 0
        return Connection(smtp)

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


class Relays:
    """All relays, the preferred first."""

    def __init__(self, urls: Sequence[str], *, connections: int, timeout_s: float) -> None:
        self._relays = [Relay(url, connections=connections, timeout_s=timeout_s) for url in urls]
        if not self._relays:
            raise ValueError("MAIL_RELAYS names no relay")

    @property
    def preferred(self) -> Relay:
        """The first that is not known to be away; the first of all if all are."""
        return next((relay for relay in self._relays if relay.cool_for_s <= 0), self._relays[0])

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """To the first relay that can be reached. Raises Unreachable."""
        failures: list[Unreachable] = []
        for relay in self._relays:
            held = relay.connection()
            try:
                connection = await held.__aenter__()
            except Unreachable as failure:
                failures.append(failure)
                continue
            try:
                yield connection
            finally:
                await held.__aexit__(None, None, None)
            return
        raise min(failures, key=lambda failure: failure.after_s)

    async def close(self) -> None:
        """All connections."""
        for relay in self._relays:
            await relay.close()


def _stuffed(content: bytes) -> bytes:
    """With a dot before each that begins a line (RFC 5321, 4.5.2), and a line's end at the end."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..")

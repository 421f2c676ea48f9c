"""One SMTP transaction per message (RFC 5321). Commands are pipelined if the relay supports it (RFC 2920).

aiosmtplib opens the connection, starts TLS and logs in; then this module takes the connection over. aiosmtplib is
not used for sending: it waits for each reply before it sends the next command, and it does not tell how far a
message got.

SMTP is not idempotent: a client that dies between the end of the data and the reply cannot know whether the
message was accepted (RFC 1047). So the message is sent without its final dot first. Then `before_end` is called.
The final dot is sent only if that returns.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

SERVICE_CLOSING, START_INPUT = 421, 354
ENHANCED_CODE = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")
REPLY_BYTES_AT_MOST = 64 * 1024
CHUNK_BYTES = 64 * 1024
"""The data is written in pieces of this size, so that a reply before its end is noticed between two of them."""
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")


class Phase(StrEnum):
    """The step of the dialogue that was reached. In LOCAL nothing has been sent: the message cannot be."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    LOCAL = "local"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "body"
    END = "end of data"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message for one recipient. `content`: with CRLF line ends, before dot-stuffing."""

    sender: str
    recipient: str
    content: bytes

    @property
    def is_international(self) -> bool:
        """Whether an address is not ASCII and so needs SMTPUTF8 (RFC 6531)."""
        return not (self.sender.isascii() and self.recipient.isascii())

    @property
    def is_safe(self) -> bool:
        """Whether the addresses are free of control characters, spaces and angle brackets (command injection)."""
        return not (_UNSAFE.search(self.sender) or _UNSAFE.search(self.recipient))


@dataclass(frozen=True, slots=True)
class Reply:
    """The relay's last reply, given in `phase`. If there was none, `code` is None and `text` says why."""

    phase: Phase
    code: int | None
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463), if the text begins with one."""
        found = ENHANCED_CODE.match(self.text)
        return found[1] if found else None

    @property
    def accepted(self) -> bool:
        """Whether the relay has taken the message."""
        return self.phase is Phase.END and self.code is not None and 200 <= self.code < 300

    @property
    def refused(self) -> bool:
        """Whether the failure is permanent (5xx)."""
        return self.code is not None and self.code >= 500

    @property
    def in_doubt(self) -> bool:
        """Whether the relay may or may not have taken the message."""
        return self.phase is Phase.END and (self.code is None or self.code < 400) and not self.accepted


class SmtpWire(asyncio.Protocol):
    """The byte stream to a relay: parses replies as they arrive, and applies flow control to writes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._text: list[str] = []
        self._replies: deque[tuple[int, str]] = deque()
        self._changed = asyncio.Event()
        """Set when a reply has come, the connection is lost, or there is room in the send buffer again."""
        self._is_writable = True
        self._lost_reason: str | None = None
        transport.set_protocol(self)

    @property
    def is_idle(self) -> bool:
        """Whether the connection is open and no reply is unread."""
        return self._lost_reason is None and not self.has_reply and not self._transport.is_closing()

    @property
    def has_reply(self) -> bool:
        """Whether a reply has come that was not read yet."""
        return bool(self._replies)

    def data_received(self, data: bytes) -> None:
        """Parse complete reply lines. Called by the event loop."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            self._text.append(line[4:].decode(errors="replace").strip())
            if line[3:4] != b"-":
                code = int(line[:3]) if line[:3].isdigit() else 0
                self._replies.append((code, " ".join(self._text)))
                self._text = []
        if len(self._buffer) + sum(map(len, self._text)) > REPLY_BYTES_AT_MOST:
            self._transport.abort()
        self._changed.set()

    def eof_received(self) -> bool:
        """Called by the event loop."""
        self._lose("it hung up")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._lose(str(exc or "it hung up"))

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_writable = True
        self._changed.set()

    async def write(self, content: bytes, timeout_s: float) -> None:
        """Write `content`, and wait while the send buffer is full and no reply comes.

        Raises ConnectionError, TimeoutError.
        """
        self.check()
        self._transport.write(content)
        async with asyncio.timeout(timeout_s):
            while not self._is_writable and not self.has_reply:
                await self._next_change()

    async def reply(self, timeout_s: float) -> tuple[int, str]:
        """Return the next reply as code and text. Raises ConnectionError, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self._replies:
                await self._next_change()
        return self._replies.popleft()

    async def _next_change(self) -> None:
        self.check()
        self._changed.clear()
        await self._changed.wait()

    def check(self) -> None:
        """Raise ConnectionError if the connection is lost."""
        if self._lost_reason is not None:
            raise ConnectionResetError(self._lost_reason)

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _lose(self, reason: str) -> None:
        self._lost_reason = self._lost_reason or reason
        self._changed.set()


class Dialogue:
    """Sends messages one after the other. `extensions`: those that the relay offers, in lower case."""

    def __init__(self, wire: SmtpWire, extensions: frozenset[str], timeout_s: float) -> None:
        self._wire = wire
        self._extensions = extensions
        self._timeout_s = timeout_s
        self._is_clean = True

    @property
    def is_open(self) -> bool:
        """Whether another message can be sent."""
        return self._is_clean and self._wire.is_idle

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Send a message. `before_end` is called when all of the data but the final dot has been sent.

        If `before_end` raises, or the relay replies before the end of the data, the final dot is not sent, and the
        connection cannot be used again.
        """
        if not envelope.is_safe:
            return Reply(Phase.LOCAL, 553, "5.1.3 not an address that can be sent to")
        if envelope.is_international and "smtputf8" not in self._extensions:
            return Reply(Phase.LOCAL, 553, "5.6.7 the relay knows no addresses beyond ASCII")
        self._is_clean = False  # until this message has its final reply
        reached = [Phase.MAIL]
        try:
            refusal = await self._send_envelope(envelope, reached)
            if refusal is not None:
                return refusal
            reached.append(Phase.BODY)
            await self._send_data(envelope.content)
            if not self._wire.has_reply:
                await before_end()
            if not self._wire.has_reply:
                self._wire.check()
                reached.append(Phase.END)
                await self._wire.write(b".\r\n", self._timeout_s)
            code, text = await self._wire.reply(self._timeout_s)
        except TimeoutError:
            return Reply(reached[-1], None, f"no answer to {reached[-1]}")
        except ConnectionError:
            return Reply(reached[-1], None, f"connection lost at {reached[-1]}")
        self._is_clean = reached[-1] is Phase.END and code not in (0, SERVICE_CLOSING)
        return Reply(reached[-1], code, text)

    async def quit(self) -> None:
        """Send QUIT if the connection is idle, and close it."""
        if self.is_open:
            with suppress(ConnectionError, TimeoutError):
                await self._wire.write(b"QUIT\r\n", 1.0)
                await self._wire.reply(1.0)
        self._wire.close()

    async def _send_data(self, content: bytes) -> None:
        """Send the data without its final dot, or less if the relay replies meanwhile."""
        data = _dot_stuffed(content)
        for start in range(0, len(data), CHUNK_BYTES):
            if self._wire.has_reply:
                return
            await self._wire.write(data[start : start + CHUNK_BYTES], self._timeout_s)
            await asyncio.sleep(0)  # lets the event loop read what the relay says

    async def _send_envelope(self, envelope: Envelope, reached: list[Phase]) -> Reply | None:
        """Send MAIL, RCPT and DATA. Return the refusal, or None if the relay waits for the data."""
        size = f" SIZE={_size(envelope.content)}" if "size" in self._extensions else ""
        utf8 = " SMTPUTF8" if envelope.is_international else ""
        commands = (
            (Phase.MAIL, f"MAIL FROM:<{envelope.sender}>{size}{utf8}\r\n".encode()),
            (Phase.RCPT, f"RCPT TO:<{envelope.recipient}>\r\n".encode()),
            (Phase.DATA, b"DATA\r\n"),
        )
        is_pipelined = "pipelining" in self._extensions
        if is_pipelined:
            await self._wire.write(b"".join(command for _, command in commands), self._timeout_s)
        for number, (phase, command) in enumerate(commands):
            reached.append(phase)
            if not is_pipelined:
                await self._wire.write(command, self._timeout_s)
            code, text = await self._wire.reply(self._timeout_s)
            if code >= 400 or code == 0 or (phase is Phase.DATA and code != START_INPUT):
                with suppress(ConnectionError, TimeoutError):  # the refusal already received is what counts
                    await self._reset(code, commands[number + 1 :] if is_pipelined else ())
                return Reply(phase, code, text)
        return None

    async def _reset(self, code: int, unread: Sequence[object]) -> None:
        """After a refusal: read the replies to the other pipelined commands, then code_of_reset the session."""
        if code in (0, SERVICE_CLOSING):
            return
        for _ in unread:
            later, _text = await self._wire.reply(self._timeout_s)
            if later < 400:  # it waits for data all the same; sending none has no defined outcome
                return
        await self._wire.write(b"RSET\r\n", self._timeout_s)
        code_of_reset, _text = await self._wire.reply(self._timeout_s)
        self._is_clean = code_of_reset < 300


def _size(content: bytes) -> int:
    """Return the bytes of a message as RFC 1870, 5 counts them: with its line ends, without doubled dots."""
    return len(content) + (0 if content.endswith(b"\r\n") else 2)


def _dot_stuffed(content: bytes) -> bytes:
    """Double each dot at the start of a line (RFC 5321, 4.5.2), and end with CRLF."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..")

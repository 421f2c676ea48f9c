"""The dialogue with a relay about a message (RFC 5321), its commands in one go where the relay allows (RFC 2920).

It takes over a connection that aiosmtplib has opened, secured and signed in on: that client waits for each answer
before the next command, and hides how far a message has come.

SMTP has no idempotency: whoever dies between the end of the data and the answer cannot know (RFC 1047). So a
message is handed over up to the end of its data, its sender is asked, and only then is it ended.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

CLOSING, START_INPUT = 421, 354
ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")
REPLY_BYTES_AT_MOST = 64 * 1024
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")


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

    @property
    def is_safe(self) -> bool:
        """Whether the addresses cannot be taken for more than addresses."""
        return not (_UNSAFE.search(self.sender) or _UNSAFE.search(self.recipient))


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
        return self.phase is Phase.END and self.code is not None and 200 <= self.code < 300

    @property
    def refused(self) -> bool:
        """For good."""
        return self.code is not None and self.code >= 500

    @property
    def in_doubt(self) -> bool:
        """The relay may have the message, or not."""
        return self.phase is Phase.END and (self.code is None or self.code < 400) and not self.accepted


class SmtpWire(asyncio.Protocol):
    """The bytes of the dialogue: replies as they come, and whether more can be written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._text: list[str] = []
        self._replies: deque[tuple[int, str]] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._lost: str | None = None
        transport.set_protocol(self)

    @property
    def is_quiet(self) -> bool:
        """Whether the relay is there and has said nothing that it was not asked."""
        return self._lost is None and not self._replies and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
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
        self._news.set()

    def eof_received(self) -> bool:
        """Called by the loop."""
        self._lose("it hung up")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._lose(str(exc or "it hung up"))

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._room.set()

    async def write(self, content: bytes, timeout_s: float) -> None:
        """Write, waiting where the relay is slower. Raises ConnectionError, TimeoutError."""
        self.check()
        self._transport.write(content)
        if not self._room.is_set():
            async with asyncio.timeout(timeout_s):
                await self._room.wait()
            self.check()

    async def reply(self, timeout_s: float) -> tuple[int, str]:
        """The next code and text. Raises ConnectionError, TimeoutError."""
        while not self._replies:
            self.check()
            self._news.clear()
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        return self._replies.popleft()

    def check(self) -> None:
        """Raises ConnectionError if the relay is gone."""
        if self._lost is not None:
            raise ConnectionResetError(self._lost)

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._news.set()
        self._room.set()


class Dialogue:
    """One message after the other. `extensions`: what the relay has offered, in lower case."""

    def __init__(self, wires: SmtpWire, extensions: frozenset[str], timeout_s: float) -> None:
        self._wires = wires
        self._extensions = extensions
        self._timeout_s = timeout_s
        self._is_clean = True

    @property
    def is_open(self) -> bool:
        """Whether another message may be begun."""
        return self._is_clean and self._wires.is_quiet

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Hand a message over. `before_end` is called when all but the end of the data has been sent.

        Where it raises, the end is not sent, and the dialogue is over.
        """
        if not envelope.is_safe:
            return Reply(Phase.MAIL, 553, "5.1.3 not an address that can be sent to")
        if envelope.is_international and "smtputf8" not in self._extensions:
            return Reply(Phase.MAIL, 553, "5.6.7 the relay knows no addresses beyond ASCII")
        self._is_clean = False  # until the message has been seen to its end
        reached = [Phase.MAIL]
        try:
            refusal = await self._ask_for_data(envelope, reached)
            if refusal is not None:
                return refusal
            reached.append(Phase.BODY)
            await self._wires.write(_stuffed(envelope.content), self._timeout_s)
            await before_end()
            self._wires.check()
            reached.append(Phase.END)
            await self._wires.write(b".\r\n", self._timeout_s)
            code, text = await self._wires.reply(self._timeout_s)
        except TimeoutError:
            return Reply(reached[-1], None, f"no answer to {reached[-1]}")
        except ConnectionError as error:
            return Reply(reached[-1], None, f"connection lost at {reached[-1]}: {error}")
        self._is_clean = code not in (0, CLOSING)
        return Reply(Phase.END, code, text)

    async def quit(self) -> None:
        """Say goodbye if it is still polite to, and hang up."""
        if self.is_open:
            with suppress(ConnectionError, TimeoutError):
                await self._wires.write(b"QUIT\r\n", 1.0)
                await self._wires.reply(1.0)
        self._wires.close()

    async def _ask_for_data(self, envelope: Envelope, reached: list[Phase]) -> Reply | None:
        """The refusal, if the relay does not want the data."""
        utf8 = " SMTPUTF8" if envelope.is_international else ""
        commands = (
            (Phase.MAIL, f"MAIL FROM:<{envelope.sender}>{utf8}\r\n".encode()),
            (Phase.RCPT, f"RCPT TO:<{envelope.recipient}>\r\n".encode()),
            (Phase.DATA, b"DATA\r\n"),
        )
        together = "pipelining" in self._extensions
        if together:
            await self._wires.write(b"".join(command for _, command in commands), self._timeout_s)
        for number, (phase, command) in enumerate(commands):
            reached.append(phase)
            if not together:
                await self._wires.write(command, self._timeout_s)
            code, text = await self._wires.reply(self._timeout_s)
            if code >= 400 or code == 0 or (phase is Phase.DATA and code != START_INPUT):
                with suppress(ConnectionError, TimeoutError):  # what was said stands
                    await self._recover(code, commands[number + 1 :] if together else ())
                return Reply(phase, code, text)
        return None

    async def _recover(self, code: int, unread: Sequence[object]) -> None:
        """After a refusal: read what else was asked, and be as new."""
        if code in (0, CLOSING):
            return
        for _ in unread:
            later, _text = await self._wires.reply(self._timeout_s)
            if later < 400:  # it would have data all the same: there is no telling what it makes of none
                return
        await self._wires.write(b"RSET\r\n", self._timeout_s)
        reset, _text = await self._wires.reply(self._timeout_s)
        self._is_clean = reset < 300


def _stuffed(content: bytes) -> bytes:
    """With a dot before each that begins a line (RFC 5321, 4.5.2), and a line's end at the end."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..")

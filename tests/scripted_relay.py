"""An SMTP server that answers each command as a test says, and counts what it hears."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

FINE = {
    "greeting": "220 relay.test",
    "EHLO": "250-relay.test\r\n250 PIPELINING",
    "HELO": "250 relay.test",
    "AUTH": "235 2.7.0 welcome",
    "MAIL": "250 2.1.0 fine",
    "RCPT": "250 2.1.5 fine",
    "DATA": "354 go on",
    ".": "250 2.0.0 taken",
    "RSET": "250 2.0.0 fine",
    "QUIT": "221 2.0.0 bye",
}


@dataclass
class ScriptedRelay:
    """What it answers by the first word of a command (`greeting` and `.` too), and what it has heard.

    `connections_at_most`: one more is greeted with 421.
    """

    answers: dict[str, str] = field(default_factory=dict)
    connections_at_most: int = 1000
    answer: Callable[[str], str | None] = lambda _command: None
    """Asked first, with the whole command."""
    heard: list[str] = field(default_factory=list)
    refused: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0

    def count(self, name: str) -> int:
        """How often a command was heard."""
        return Counter(command.split(" ")[0].upper() for command in self.heard)[name]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.open >= self.connections_at_most:
            self.refused += 1
            writer.write(b"421 4.7.0 too many connections\r\n")
            writer.close()
            return
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        with suppress(ConnectionError):
            await self._converse(reader, writer)
        self.open -= 1
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = self._say(writer, "greeting", "greeting")
        while reply[0] != "4" or reply.startswith("45"):
            command = (await reader.readline()).decode().rstrip("\r\n")
            if not command:
                return
            self.heard.append(command)
            reply = self._say(writer, command.split(" ")[0].upper(), command)
            if reply.startswith("221"):
                return
            if reply.startswith("354"):
                while await reader.readline() not in (b".\r\n", b""):
                    pass
                self.heard.append(".")
                reply = self._say(writer, ".", ".")

    def _say(self, writer: asyncio.StreamWriter, name: str, command: str) -> str:
        reply = self.answer(command) or (FINE | self.answers)[name]
        writer.write(f"{reply}\r\n".encode())
        return reply


@asynccontextmanager
async def scripted(relay: ScriptedRelay) -> AsyncIterator[ScriptedRelay]:
    """`relay` serves while the block runs."""
    server = await asyncio.start_server(relay.serve, "127.0.0.1", relay.port)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()

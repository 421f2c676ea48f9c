"""A stretch of network in front of a server, that tests may hold up: nothing passes, and nobody is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from urllib.parse import urlsplit

from libs.common import background


class Network:
    """Leads to one server; `url` is its address by this way."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = parts.hostname, parts.port
        self._parts = parts
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""

    def hold_up(self) -> None:
        """From now on."""
        self._passing.clear()

    def let_pass(self) -> None:
        """Again, and what was held up goes on."""
        self._passing.set()

    def used_by(self, connections: int) -> Callable[[], Awaitable[bool]]:
        """A probe: whether there are that many connections or more."""

        async def used() -> bool:
            return len(self._connections) >= connections

        return used

    @asynccontextmanager
    async def open(self, *, port: int = 0) -> AsyncIterator["Network"]:
        """There while the block runs, at a port that is free or at this one."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", port)
        port = server.sockets[0].getsockname()[1]
        place = f"{self._parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
        self.url = self._parts._replace(netloc=place).geturl()
        try:
            yield self
        finally:
            server.close()
            await background.end(self._connections)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(asyncio.CancelledError, OSError), closing(writer):
            await self._passing.wait()
            other_reader, other_writer = await asyncio.open_connection(*self._target)
            with closing(other_writer):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, other_writer))
                    group.create_task(self._carry(other_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError), closing(writer):
            while some := await reader.read(65_536):
                await self._passing.wait()
                writer.write(some)

"""A web server that answers what a test wants, down to the byte, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from email.utils import formatdate

from libs.common import background


@dataclass(frozen=True)
class Asked:
    """A request. Names of headers are in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Told:
    """An answer. `pause_s`: between its bytes, which then come one by one."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    breaks_off: bool = False
    """It announces a byte more than it sends."""

    @property
    def content(self) -> bytes:
        """All of it, as it goes over the wire."""
        headers = {"Content-Length": str(len(self.body) + self.breaks_off), "Date": formatdate(usegmt=True)}
        lines = [f"HTTP/1.1 {self.status} Whatever"]
        lines += [f"{name}: {value}" for name, value in (headers | dict(self.headers)).items()]
        head = "\r\n".join((*lines, "", "")).encode()
        return head if self.status in (204, 304) else head + self.body


def told_json(value: object, **headers: str) -> Told:
    """An answer with JSON. `_` in names of headers stands for `-`."""
    named = {name.replace("_", "-"): content for name, content in headers.items()}
    return Told(json.dumps(value).encode(), headers={"Content-Type": "application/json"} | named)


Script = Callable[[Asked], Told | Awaitable[Told]]


class ScriptedSource:
    """`asked`: every request. `at_once`: the most that there were at the same time."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.at_once = 0
        self._now = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the other side has enough."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError), closing(writer):
            while True:
                asked = await _read(reader)
                self._now += 1
                self.at_once = max(self.at_once, self._now)
                self.asked.append(asked)
                try:
                    await self._answer(asked, writer)
                finally:
                    self._now -= 1
        self._connections.discard(task)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        told = self.script(asked)
        if not isinstance(told, Told):
            told = await told
        content = told.content
        step = 1 if told.pause_s else max(1, len(content))
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
            await writer.drain()
            if told.pause_s:
                await asyncio.sleep(told.pause_s)
        if told.breaks_off:
            raise OSError("this connection ends here")

    async def end(self) -> None:
        """Close what is open."""
        await background.end(self._connections)


async def _read(reader: asyncio.StreamReader) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:])
        if name
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


@asynccontextmanager
async def scripted_source(script: Script) -> AsyncIterator[ScriptedSource]:
    """A server that is there while the block runs."""
    source = ScriptedSource(script)
    server = await asyncio.start_server(source.connect, "127.0.0.1", 0)
    source.port = server.sockets[0].getsockname()[1]
    try:
        yield source
    finally:
        server.close()
        await source.end()

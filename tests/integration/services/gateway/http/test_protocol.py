"""On the wire: answers in one piece, in order, and no connection without a clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import uvicorn

from services.gateway.http import protocol
from services.gateway.http.protocol import HttpProtocol
from tests.polling import until

HOST = b"Host: x\r\n\r\n"
BODY = b"HTTP/1.1 this looks like a head"
Open = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def app(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answers at once; /slow later than a head may take; /parts in parts; /body when read; /flood too much."""
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(5.0)
    if path == "/body":
        while (await receive())["more_body"]:
            pass
    headers = [] if path in ("/parts", "/flood") else [(b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/parts":
        for part in (b"HTTP/1", b"HTTP/2"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)
    if path == "/flood":
        async with asyncio.timeout(0.5):
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if path == "/parts" else BODY})


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """It has little patience."""
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 2.0)
    monkeypatch.setattr(protocol, "TAKEN_EVERY_S", 0.5)
    serving = uvicorn.Server(
        uvicorn.Config(app, port=0, http=HttpProtocol, log_config=None, access_log=False, lifespan="off")
    )
    task = asyncio.create_task(serving.serve())

    async def started() -> bool:
        return serving.started

    await until(started)
    yield serving
    serving.should_exit = True
    await task


@pytest.fixture
def connect(server: uvicorn.Server) -> Open:
    """A connection on which something has been sent."""
    port = server.servers[0].sockets[0].getsockname()[1]

    async def open_(first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        return reader, writer

    return open_


async def answers(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """The bodies of so many answers, which have one."""
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        found.append(await reader.readexactly(len(BODY)))
    return found


async def test_head_and_body_of_pipelined_answers_stay_in_order(connect: Open) -> None:
    first = b"HEAD / HTTP/1.1\r\n" + HOST + b"GET / HTTP/1.1\r\n" + HOST + b"GET /parts HTTP/1.1\r\n" + HOST
    reader, writer = await connect(first)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await answers(reader, 1) == [BODY]
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readuntil(b"0\r\n\r\n") == b"6\r\nHTTP/1\r\n6\r\nHTTP/2\r\n0\r\n\r\n"
    writer.close()


async def test_who_asks_before_sending_a_body_is_answered(connect: Open) -> None:
    reader, writer = await connect(b"POST /body HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n" + HOST)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert await answers(reader, 1) == [BODY]
    writer.close()


async def test_no_clock_runs_while_others_are_answered_first(connect: Open) -> None:
    reader, writer = await connect(b"GET /slow HTTP/1.1\r\n" + HOST + b"GET / HTTP/1.1\r\n" + HOST + b"GET / HT")
    await asyncio.sleep(0)
    writer.write(b"TP/1.1\r\n" + HOST)
    assert await answers(reader, 3) == [BODY] * 3
    writer.close()


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\n" + HOST, b"\r\n"),
        (b"GET / HTTP/1.1\r\nContent-Length: 100000\r\n" + HOST, b"x"),
    ],
    ids=["nothing", "half a head", "an empty line after an answer", "a body after its answer"],
)
async def test_who_dawdles_is_cut_off(connect: Open, first: bytes, more: bytes) -> None:
    reader, writer = await connect(first)
    if more:
        await answers(reader, 1)
        writer.write(more)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(reader.readexactly(1), 60)
    writer.close()


async def test_who_does_not_read_is_cut_off(server: uvicorn.Server, connect: Open) -> None:
    _, writer = await connect(b"GET /flood HTTP/1.1\r\n" + HOST)
    writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def is_connected() -> bool:
        return bool(server.server_state.connections)

    async def is_alone() -> bool:
        return not server.server_state.connections

    await until(is_connected)
    await until(is_alone)
    writer.close()

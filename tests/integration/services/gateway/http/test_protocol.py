"""On the wire: answers in one piece, in order, and no connection without a clock."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import uvicorn

from libs.common.db import Database
from services.gateway.http import protocol
from services.gateway.http.protocol import HttpProtocol
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.http.raw_http import raw
from tests.integration.services.gateway.live import LiveGateway
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


async def test_s12_a_head_that_never_ends_is_cut_off(live: LiveGateway) -> None:
    begun = time.monotonic()
    never_sent, half_sent = await asyncio.gather(raw(live), raw(live, b"GET / HTTP/1.1\r\nHost: x\r\n"))
    assert (never_sent, half_sent) == (b"", b"")
    assert time.monotonic() - begun < 55, "long before the test would have given up"
    large = [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: " + b"a" * 16_000 + b"\r\n"] * 20]
    assert b"200" not in await raw(live, *large)


async def test_s12_a_head_that_grows_behind_an_answer_is_cut_off(live: LiveGateway) -> None:
    begun = [b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"] * 20
    sent = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port, limit=1024)
    with contextlib.suppress(ConnectionError, TimeoutError):
        for part in (*begun, b"GET / HTTP/1.1\r\n", *[b"X: " + b"a" * 16_000 + b"\r\n"] * 2_000):
            writer.write(part)
            async with asyncio.timeout(20):
                await writer.drain()
            sent += len(part)
    assert not reader.at_eof() or sent
    assert sent < 16_000_000, "what fits into the buffers of the two ends, and no more"
    writer.close()


async def test_s12_lengths_that_lie(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    head = (
        f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    head += "Connection: close\r\n"
    endless = itertools.repeat(b"10000\r\n" + b" " * 65_536 + b"\r\n", 12)
    answer = await raw(live, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", *endless)
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    both = (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    answer = await raw(live, head.encode() + both)
    assert answer.startswith(b"HTTP/1.1 400"), "S23"
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
        b"Content-Length: -1\r\n\r\n",
        b" folded: x\r\n\r\n",
        b"Bad Header: x\r\n\r\n",
    ],
)
async def test_s23_what_proxies_disagree_about_is_refused(live: LiveGateway, lines: bytes) -> None:
    answer = await raw(live, b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401")), answer
    assert answer.count(b"HTTP/1.1") == 1

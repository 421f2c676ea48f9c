"""On the wire: answers in one piece, in order, and no connection without a clock."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import psutil
import pytest
import uvicorn

from libs.common.db import Database
from services.gateway.http import draining, protocol, transport
from services.gateway.http.protocol import HttpProtocol
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from services.gateway.problems import response_to
from tests.integration.services.gateway.http.raw_http import raw, sent_first
from tests.integration.services.gateway.live import LiveGateway
from tests.polling import until

HOST = b"Host: x\r\n\r\n"
BODY = b"HTTP/1.1 this looks like a head"
LARGE = bytes(1_000_000)
begun: list[str] = []
"""The requests for /large and /wait that have been begun."""
Open = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def app(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answers at once; /slow later than a head may take; /parts in parts; /body when read; /flood too much.

    /echo answers with the method and what it has read.
    """
    path = scope["path"]
    if path in SPECIAL:
        await SPECIAL[path](scope, receive, send)
        return
    if path == "/body":
        while (await receive())["more_body"]:
            pass
    if refusal := scope.get("argosy.refusal"):
        await response_to(refusal)(scope, receive, send)
        return
    if path == "/slow":
        await asyncio.sleep(5.0)
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


async def _noted(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    begun.append(scope["path"])
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        begun.append("left")
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})
    await send({"type": "http.response.body", "body": LARGE})


async def _echo(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    body, more = scope["method"].encode() + b" ", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


SPECIAL = {"/large": _noted, "/wait": _noted, "/echo": _echo}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """It has little patience."""
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 2.0)
    monkeypatch.setattr(transport, "TAKEN_EVERY_S", 0.5)
    monkeypatch.setattr(transport, "LAST_TAKEN_EVERY_S", 0.5)
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
def port(server: uvicorn.Server) -> int:
    """Where it listens."""
    return int(server.servers[0].sockets[0].getsockname()[1])


@pytest.fixture
def connect(port: int) -> Open:
    """A connection on which something has been sent."""

    async def open_(first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = socket.socket()
        # A buffer of its own size: the system would let it grow to several large answers.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=connection)
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


OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
}
FRAMED = {
    "length": (b"Content-Length: 3\r\n", b"abc"),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
}


async def echoed(reader: asyncio.StreamReader) -> bytes:
    """What /echo has read of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("offer", OFFERS)
async def test_who_offers_an_upgrade_is_answered_as_if_not(connect: Open, offer: str, framing: str) -> None:
    fields, body = FRAMED[framing]
    post = b"POST /echo HTTP/1.1\r\n" + OFFERS[offer] + fields + HOST
    get = b"GET /echo HTTP/1.1\r\n" + OFFERS[offer] + HOST
    reader, writer = await connect(post + body + get + post)  # pipelined, and the last body apart
    assert [await echoed(reader) for _ in range(2)] == [b"POST abc", b"GET "]
    writer.write(body)
    assert await echoed(reader) == b"POST abc"
    writer.write(post.replace(HOST, b"Expect: 100-continue\r\n" + HOST))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert await echoed(reader) == b"POST abc"
    writer.close()


@pytest.mark.parametrize("last", [b"1.0\r\n", b"1.1\r\nConnection: close\r\n"], ids=["HTTP/1.0", "close"])
async def test_who_offers_an_upgrade_with_the_last_request_is_answered_too(connect: Open, last: bytes) -> None:
    reader, writer = await connect(
        b"POST /echo HTTP/" + last + OFFERS["h2c"] + FRAMED["length"][0] + HOST + b"abc"
    )
    assert await echoed(reader) == b"POST abc"
    assert await reader.read() == b"", "and that is the end"
    writer.close()


async def test_a_tunnel_is_refused_and_nothing_in_it_is_a_request(connect: Open) -> None:
    reader, writer = await connect(b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"GET / HTTP/1.1\r\n" + HOST)
    writer.write_eof()
    received = await reader.read()
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1
    writer.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 25000000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_who_is_still_sending_gets_the_answer_and_the_connection_ends(port: int, framing: bytes) -> None:
    piece = b"f4240\r\n" + bytes(1_000_000) + b"\r\n"
    upload = [b"POST / HTTP/1.1\r\n" + framing + HOST, *[piece] * 24]
    answer = await asyncio.to_thread(sent_first, port, *upload)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_what_comes_after_an_early_answer_is_no_request(connect: Open) -> None:
    reader, writer = await connect(b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n" + HOST)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(len(BODY)) == BODY
    writer.write(bytes(90_000) + b"GET / HTTP/1.1\r\n" + HOST)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_garbage_behind_a_long_body_is_refused_readably(port: int) -> None:
    begun = b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"1\r\na\r\nno size\r\n"
    answer = await asyncio.to_thread(sent_first, port, begun, *[bytes(1_000_000)] * 5)
    assert answer.startswith(b"HTTP/1.1 400")


async def test_who_trickles_on_after_an_early_answer_is_cut_off(
    server: uvicorn.Server, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "CHECK_EVERY_S", 0.2)
    _, writer = await connect(b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n" + HOST)

    async def is_connected() -> bool:
        return bool(server.server_state.connections)

    async def is_alone() -> bool:
        if not writer.is_closing():
            writer.write(b"x")
        return not server.server_state.connections

    await until(is_connected)
    await until(is_alone)
    writer.close()


async def test_a_server_that_stops_does_not_wait_for_the_rest_of_a_request(
    server: uvicorn.Server, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "CHECK_EVERY_S", 600.0)
    reader, writer = await connect(b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n" + HOST)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    (connection,) = server.server_state.connections
    connection.shutdown()

    async def is_alone() -> bool:
        return not server.server_state.connections

    await until(is_alone)
    writer.close()


async def test_a_server_that_stops_keeps_no_connection_for_another_request(
    server: uvicorn.Server, connect: Open
) -> None:
    reader, writer = await connect(b"POST /body HTTP/1.1\r\nContent-Length: 2\r\n" + HOST + b"a")

    async def is_reading() -> bool:
        return any(one.cycle is not None for one in server.server_state.connections)  # type: ignore[union-attr]

    await until(is_reading)
    (connection,) = server.server_state.connections
    connection.shutdown()
    writer.write(b"b")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in head
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


async def test_one_answer_is_made_ahead_however_many_are_asked_for(
    server: uvicorn.Server, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TAKEN_EVERY_S", 600.0)
    begun.clear()
    reader, writer = await connect((b"GET /large HTTP/1.1\r\n" + HOST) * 1000)
    writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def has_begun() -> bool:
        return bool(begun)

    await until(has_begun)
    (connection,) = server.server_state.connections
    await until(lambda: is_paused(connection))
    assert len(begun) == 1
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(20):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(LARGE))
    assert 20 <= len(begun) <= 22
    writer.close()


async def is_paused(connection: Any) -> bool:
    return bool(connection.flow.write_paused and connection.flow.read_paused)


async def test_many_pipelined_requests_are_all_answered_in_order(connect: Open) -> None:
    requests = b"".join(b"POST /echo HTTP/1.1\r\nContent-Length: 4\r\n" + HOST + b"%04d" % n for n in range(1000))
    reader, writer = await connect(requests)
    assert [await echoed(reader) for _ in range(1000)] == [b"POST %04d" % n for n in range(1000)]
    writer.close()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 33])
async def test_requests_are_found_however_they_are_cut(connect: Open, size: int) -> None:
    post = b"POST /echo HTTP/1.1\r\n" + FRAMED["chunked"][0] + HOST + FRAMED["chunked"][1]
    requests = (b"GET /echo HTTP/1.1\r\n" + HOST + post) * 3
    reader, writer = await connect(b"")
    for at in range(0, len(requests), size):
        writer.write(requests[at : at + size])
        await asyncio.sleep(0)
    assert [await echoed(reader) for _ in range(6)] == [b"GET ", b"POST abc"] * 3
    writer.close()


async def test_who_leaves_ends_the_request_that_is_answered_and_begins_no_other(
    server: uvicorn.Server, connect: Open
) -> None:
    begun.clear()
    _, writer = await connect(b"GET /wait HTTP/1.1\r\n" + HOST + b"GET /large HTTP/1.1\r\n" + HOST)

    async def has_begun() -> bool:
        return begun == ["/wait"]

    async def has_ended() -> bool:
        return begun == ["/wait", "left"] and not server.server_state.tasks

    await until(has_begun)
    writer.transport.abort()
    await until(has_ended)


async def test_s12_readers_that_take_nothing_cost_little(live: LiveGateway) -> None:
    gateway, connections = psutil.Process(live.process.pid), []
    before = gateway.memory_info().rss
    try:
        for _ in range(400):
            connection = socket.socket()
            connections.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.settimeout(60)
            await asyncio.to_thread(connection.connect, ("127.0.0.1", live.port))
            connection.sendall(b"GET /docs HTTP/1.1\r\n" + HOST + b"GET /openapi.json HTTP/1.1\r\n" + HOST)
        for connection in connections:
            assert await asyncio.to_thread(connection.recv, 5) == b"HTTP/", "it is being answered"
        assert gateway.memory_info().rss - before < 20_000_000
    finally:
        for connection in connections:
            connection.close()


async def test_who_leaves_is_no_bug(live: LiveGateway, database: Database) -> None:
    """In the middle of an answer, of a body, of a head; with a reset, and with an end."""
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key.encode()
    upload = b"POST /v1/ocr HTTP/1.1\r\nAuthorization: Bearer " + key + b"\r\n"
    upload += b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999\r\n" + HOST
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%PDF-1.7' + bytes(2000)
    docs = b"GET /docs HTTP/1.1\r\n" + HOST
    wholes = [
        docs * 8,
        upload + part,
        upload,
        b"POST /v1/auth/token HTTP/1.1\r\nContent-Length: 9\r\n" + HOST,
        docs[:9],
    ]
    for whole, is_reset in itertools.product(wholes * 4, (True, False)):
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port, limit=1024)
        writer.write(whole)
        if whole.startswith(docs):
            assert await reader.readexactly(5) == b"HTTP/"
        if is_reset:
            writer.transport.abort()
        else:
            writer.close()
    assert b" 200 " in await raw(live, b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + HOST)
    live.process.terminate()
    await asyncio.to_thread(live.process.wait)
    lines = [line for line in live.log.read_bytes().splitlines() if b'"part":"bus"' not in line]  # which ends, too
    assert [line for line in lines if b'"level":"info"' not in line] == []


REFUSED = {
    "garbage": b"\x16\x03\x01\x02\x00\r\n\r\n",
    "method": b"FOO / HTTP/1.1\r\n" + HOST,
    "path": b"GET /\xff HTTP/1.1\r\n" + HOST,
    "address": b"GET http://[ HTTP/1.1\r\n" + HOST,
    "field": b"GET / HTTP/1.1\r\nBad Field: x\r\n" + HOST,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "chunk": b"POST /v1/ocr HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"no size\r\n",
    "large head": b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaa\r\n" * 30_000,
}


async def test_s24_what_cannot_be_read_is_answered_as_everything_is(live: LiveGateway) -> None:
    before = len(live.log.read_bytes().splitlines())
    for what, sent in REFUSED.items():
        answer = await raw(live, sent)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431" if what == "large head" else b"HTTP/1.1 400"), (what, answer)
        assert b"\r\nconnection: close" in head
        for field in (b"x-content-type-options: nosniff", b"content-security-policy: ", b"x-request-id: req_"):
            assert b"\r\n" + field in head, what
        assert orjson.loads(body)["status"] in (400, 431)

    async def lines() -> list[bytes]:
        found = live.log.read_bytes().splitlines()[before:]
        return found if len(found) >= len(REFUSED) else []

    logged = await until(lines)
    assert len(logged) == len(REFUSED), "one line for each"
    assert all(b'"level":"info"' in line for line in logged)


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

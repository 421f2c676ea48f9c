"""Requests to servers that send too much, too slowly, or that are where nobody may ask."""

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from libs.common.errors import ArgosyError
from services.sync.outgoing import Caps, Outgoing, Request, outgoing
from services.sync.refusals import AddressRefused, SourceTooSlow, SourceUnavailable, TooLarge, UnreadableBody
from tests.scripted_source import Asked, Script, ScriptedSource, Told, scripted_source

AGENT = "Argosy/1 (+https://argosy.test)"
LOOPBACK = [ip_network("127.0.0.0/8")]
SPELLINGS = (
    *(
        "http://127.0.0.1{}/",
        "http://127.1{}/",
        "http://127.0.1{}/",
        "http://127.0.0.1.{}/",
        "http://127.8.9.1{}/",
    ),
    *("http://2130706433{}/", "http://0x7f000001{}/", "http://0x7f.1{}/", "http://0x7f.0x0.0x0.0x1{}/"),
    *("http://017700000001{}/", "http://0177.0.0.1{}/", "http://0{}/", "http://0.0.0.0{}/", "http://0x0{}/"),
    *("http://localhost{}/", "http://LOCALHOST{}/", "http://①②⑦.⓪.⓪.①{}/"),
    *("http://127。0。0。1{}/", "http://[::1]{}/", "http://[::]{}/", "http://[0:0:0:0:0:0:0:1]{}/"),
    *(
        "http://[::ffff:127.0.0.1]{}/",
        "http://[::ffff:7f00:1]{}/",
        "http://[::127.0.0.1]{}/",
        "http://[::1%25lo]{}/",
    ),
    *("http://[64:ff9b::7f00:1]{}/", "http://[64:ff9b::169.254.169.254]{}/", "http://[2002:7f00:1::]{}/"),
    *(
        "http://[2001:0:7f00:1::1]{}/",
        "http://[::ffff:0:127.0.0.1]{}/",
        "http://[fe80::1]{}/",
        "http://[fd00::1]{}/",
    ),
    *(
        "http://[fec0::1]{}/",
        "http://[ff02::1]{}/",
        "http://169.254.169.254{}/latest/meta-data/",
        "http://10.0.0.1{}/",
    ),
    *("http://172.16.0.1{}/", "http://192.168.0.1{}/", "http://100.64.0.1{}/", "http://198.18.0.1{}/"),
    *("http://224.0.0.1{}/", "http://255.255.255.255{}/", "http://192.88.99.1{}/", "http://user@127.0.0.1{}/"),
    *("http://example.com@127.0.0.1{}/", "http://127.0.0.1{}\\@example.com/", "http://rebinding.test{}/"),
    *("http://mixed.test{}/", "HTTP://127.0.0.1{}/#@example.com", "http://127.0.0.1{}?@a.b"),
)
"""Addresses that lead to this machine or its neighbours; `{}` is the place of a port."""


class Rebinding(AbstractResolver):
    """A name service that answers with a public address first, and with this machine's when asked again."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if host.endswith(".test"):
            return [_resolved(host, "127.0.0.1", port), _resolved(host, "127.0.0.2", port)]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [_resolved(host, str(info[4][0]), port) for info in found]

    async def close(self) -> None:
        pass


def _resolved(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)


@asynccontextmanager
async def asking(script: Script, caps: Caps | None = None) -> AsyncIterator[tuple[ScriptedSource, Outgoing]]:
    """A server, and what may ask it."""
    async with scripted_source(script) as source, outgoing(AGENT, allowed=LOOPBACK, caps=caps) as client:
        yield source, client


async def error_of(client: Outgoing, url: str, into: Path) -> ArgosyError | None:
    try:
        await client.ask(Request(url), into)
    except ArgosyError as error:
        return error
    return None


async def test_no_spelling_leads_here(tmp_path: Path) -> None:
    """Not to the usual ports, nor to one at which somebody does listen."""
    async with (
        scripted_source(lambda asked: Told(b"secret")) as source,
        outgoing(AGENT, resolver=Rebinding()) as client,
    ):
        urls = [spelling.format(port) for spelling in SPELLINGS for port in ("", f":{source.port}")]
        errors = {url: await error_of(client, url, tmp_path / "body") for url in urls}
    assert {url: error for url, error in errors.items() if not isinstance(error, AddressRefused)} == {}
    assert source.asked == []
    assert len(SPELLINGS) >= 40


async def test_a_name_that_is_asked_about_again_is_looked_at_again(tmp_path: Path) -> None:
    """It was of a server that may be asked, and is of one that may not when the second connection is made."""
    answers = iter(["127.0.0.1", "127.0.0.2"])

    class Moving(Rebinding):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            return [_resolved(host, next(answers), port)]

    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(
            scripted_source(lambda asked: Told(b"public", headers={"Connection": "close"}))
        )
        allowed = [ip_network("127.0.0.1/32")]
        client = await stack.enter_async_context(outgoing(AGENT, allowed=allowed, resolver=Moving()))
        url = f"http://moving.test:{source.port}/"
        assert (await client.ask(Request(url), tmp_path / "body")).status == 200
        assert isinstance(await error_of(client, url, tmp_path / "body"), AddressRefused)
    assert len(source.asked) == 1


async def test_what_is_sent(tmp_path: Path) -> None:
    async with asking(lambda asked: Told(b"{}", headers={"Set-Cookie": "a=b"})) as (source, client):
        headers = {"X-Api-Key": "k", "User-agent": "somebody", "Host": "other.test", "Content-Length": "9"}
        request = Request(f"{source.url}/a?b=c", "POST", headers, {"If-None-Match": 'W/"1"'}, b'{"a":1}')
        answer = await client.ask(request, tmp_path / "body")
        await client.ask(request, tmp_path / "body")
    assert (answer.status, answer.wire_bytes, (tmp_path / "body").read_bytes()) == (200, 2, b"{}")
    first, second = source.asked
    assert (first.method, first.target, first.body) == ("POST", "/a?b=c", b'{"a":1}')
    assert first.headers["x-api-key"] == "k"
    assert first.headers["if-none-match"] == 'W/"1"'
    assert first.headers["host"] == f"127.0.0.1:{source.port}"
    assert first.headers["user-agent"] == AGENT
    assert first.headers["accept-encoding"] == "gzip"
    assert first.headers["content-type"] == "application/json"
    assert "cookie" not in second.headers


async def test_no_proxy_of_this_machine_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with asking(lambda asked: Told(b"direct")) as (source, client):
        assert (await client.ask(Request(source.url), tmp_path / "body")).status == 200
    assert len(source.asked) == 1


@pytest.mark.parametrize("members", [1, 3])
async def test_packed_bodies_are_unpacked(members: int, tmp_path: Path) -> None:
    parts = [bytes([65 + number]) * 3_000_000 for number in range(members)]
    packed = b"".join(map(gzip.compress, parts)) + b"\0\0"
    async with asking(lambda asked: Told(packed, headers={"Content-Encoding": "gzip"})) as (source, client):
        answer = await client.ask(Request(source.url), tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == b"".join(parts)
    assert answer.wire_bytes == len(packed)


BOMB = gzip.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Told(BOMB, headers={"Content-Encoding": "gzip"}), TooLarge),
        (Told(gzip.compress(b"a") + BOMB, headers={"Content-Encoding": "x-gzip"}), TooLarge),
        (Told(b"a" * 2_000_001), TooLarge),
        (Told(b"<html>", headers={"Content-Encoding": "gzip"}), UnreadableBody),
        (Told(b"a", headers={"Content-Encoding": "br"}), UnreadableBody),
        (Told(BOMB, headers={"Content-Encoding": "gzip, gzip"}), UnreadableBody),
        (Told(gzip.compress(b"a" * 100)[:-9], headers={"Content-Encoding": "gzip"}), SourceUnavailable),
        (Told(b"a" * 100, breaks_off=True), SourceUnavailable),
        (Told(zlib.compress(b"a"), headers={"Content-Encoding": "gzip"}), UnreadableBody),
        (
            Told(headers={f"X-{number}": "a" * 8_000 for number in range(20)} | {"X-Long": "a" * 70_000}),
            SourceUnavailable,
        ),
    ],
)
async def test_bodies_that_are_refused(told: Told, expected: type[ArgosyError], tmp_path: Path) -> None:
    caps = Caps(wire_bytes=2_000_000, unpacked_bytes=4_000_000)
    async with asking(lambda asked: told, caps) as (source, client):
        assert isinstance(await error_of(client, source.url, tmp_path / "body"), expected)
    assert (tmp_path / "body").stat().st_size <= caps.unpacked_bytes if (tmp_path / "body").exists() else True


@pytest.mark.parametrize(
    "caps",
    [
        Caps(slow_after_s=0.5),  # of the average
        Caps(total_s=0.8),
        Caps(headers_s=0.3, total_s=30),  # one byte at a time never is long enough to end
    ],
)
async def test_a_trickle_ends(caps: Caps, tmp_path: Path) -> None:
    """A server that sends a byte now and then keeps nobody."""
    pause = Told(b"a" * 100_000, pause_s=0.02)
    async with asking(lambda asked: pause, caps) as (source, client):
        began = time.monotonic()
        assert isinstance(await error_of(client, source.url, tmp_path / "body"), SourceTooSlow)
    assert time.monotonic() - began < 0.02 * 100_000 / 10


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    async def never(asked: Asked) -> Told:
        await asyncio.Event().wait()
        raise AssertionError

    async with asking(never, Caps(headers_s=0.3)) as (source, client):
        assert isinstance(await error_of(client, source.url, tmp_path / "body"), SourceTooSlow)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with asking(lambda asked: Told()) as (source, client):
        pass
    async with outgoing(AGENT, allowed=LOOPBACK) as client:
        for url in (source.url, "http://nothing.invalid/"):
            assert isinstance(await error_of(client, url, tmp_path / "body"), SourceUnavailable)


async def test_what_is_not_http(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, outgoing(AGENT, allowed=LOOPBACK) as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        error = await error_of(client, url, tmp_path / "body")
    assert isinstance(error, SourceUnavailable)
    assert "mail.test" not in str(error)

"""One request to somebody else's server: which addresses it may reach, and how much and how long it may take.

There is one choke point. Every connection needs a socket, and `_socket` is given the very address that it will be
connected to: literals in any spelling, names, names that change, and each hop of a redirect pass it.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy

from libs.common import metrics
from libs.common.contracts.sync import BODY_BYTES_AT_MOST, UNPACKED_BYTES_AT_MOST
from services.sync.addresses import Network, check_url, may_connect
from services.sync.refusals import AddressRefused, SourceTooSlow, SourceUnavailable, TooLarge, UnreadableBody

UNPACKED_AT_ONCE = 1024**2
HEADERS_AT_MOST_BYTES = 64 * 1024
OURS = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
        *("expect", "accept-encoding", "if-none-match", "if-modified-since", "range", "user-agent"),
    )
)
"""Headers that a source cannot set."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of one address."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the source; those that are OURS are left out."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """If-None-Match and If-Modified-Since."""
    body: bytes | None = None
    """JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. The body is in the file that was named; that of a refusal is not read."""

    url: str
    status: int
    headers: Mapping[str, str]
    """Names are in small letters; the values of a name that comes again are joined by commas."""
    wire_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Caps:
    """How much, and for how long, a server may answer."""

    wire_bytes: int = BODY_BYTES_AT_MOST
    unpacked_bytes: int = UNPACKED_BYTES_AT_MOST
    headers_s: float = 30.0
    """Until all headers are there, with the connecting."""
    total_s: float = 120.0
    slow_after_s: float = 20.0
    """From then on, fewer than `bytes_per_s` on the average are too few."""
    bytes_per_s: float = 1_000.0


class NotPublic(OSError):
    """Why there is no connection."""


class Outgoing:
    """Sends requests, without cookies, proxies and credentials of this machine."""

    def __init__(self, session: aiohttp.ClientSession, caps: Caps) -> None:
        self._session = session
        self._caps = caps

    async def ask(self, request: Request, into: Path) -> Answer:
        """Send a request, and write the body of a 200 into a file, unpacked. No redirect is followed.

        Raises AddressRefused, SourceUnavailable, TooLarge, SourceTooSlow, UnreadableBody.
        """
        check_url(request.url)
        try:
            async with asyncio.timeout(self._caps.total_s):
                return await self._answer(request, into)
        except TimeoutError:
            raise SourceTooSlow("The source took too long to answer.") from None
        except aiohttp.InvalidURL:
            raise AddressRefused("The address is not one that can be asked.") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, NotPublic):
                metrics.sync_refused_addresses.inc()
                raise AddressRefused from None
            raise SourceUnavailable(_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceUnavailable(_why(error)) from error

    async def _answer(self, request: Request, into: Path) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OURS}
        headers |= {"Accept-Encoding": "gzip"} | dict(request.conditions)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(self._caps.headers_s) as until_headers:
            async with self._session.request(
                request.method, request.url, headers=headers, data=request.body, allow_redirects=False
            ) as response:
                until_headers.reschedule(None)
                wire_bytes = await self._save(response, into, began) if response.status == 200 else 0
                metrics.sync_fetches.labels(str(response.status)).inc()
                metrics.sync_fetch_seconds.observe(loop.time() - began)
                metrics.sync_bytes.inc(wire_bytes)
                return Answer(request.url, response.status, _joined(response.headers), wire_bytes)

    async def _save(self, response: aiohttp.ClientResponse, into: Path, began: float) -> int:
        """Write the body. Returns how many bytes came over the wire."""
        caps, loop, wire_bytes = self._caps, asyncio.get_running_loop(), 0
        with Unpacking(into, response.headers.get("Content-Encoding", ""), caps.unpacked_bytes) as body:
            async for chunk in response.content.iter_any():
                wire_bytes += len(chunk)
                if wire_bytes > caps.wire_bytes:
                    raise TooLarge(f"The answer has more than {caps.wire_bytes // 10**6} MB.")
                elapsed_s = loop.time() - began
                if elapsed_s > caps.slow_after_s and wire_bytes < caps.bytes_per_s * elapsed_s:
                    raise SourceTooSlow(f"The source sent {wire_bytes} bytes in {elapsed_s:.0f} s.")
                await asyncio.to_thread(body.feed, chunk)
            body.end()
        return wire_bytes


class Unpacking:
    """Writes a body into a file, unpacked, and counts what it writes: a small one can unpack to any size."""

    def __init__(self, into: Path, encoding: str, at_most: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise UnreadableBody(f"The answer is packed in a way that was not asked for: {encoding[:40]!r}.")
        self._packed = encoding.endswith("gzip")
        self._inflate: zlib._Decompress | None = None
        self._written, self._at_most = 0, at_most
        self._file: BinaryIO = into.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def feed(self, chunk: bytes) -> None:
        """Write what is in a part of the body. Raises TooLarge and UnreadableBody."""
        if not self._packed:
            self._write(chunk)
            return
        while chunk:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(wbits=31)
            try:
                chunk = self._inflated(self._inflate, chunk)
            except zlib.error:
                raise UnreadableBody("The answer cannot be unpacked: it is not gzip.") from None

    def end(self) -> None:
        """There is no more of the body. Raises SourceUnavailable where some is missing."""
        if self._inflate is not None and not self._inflate.eof:
            raise SourceUnavailable("The packed answer breaks off.")

    def _inflated(self, inflate: "zlib._Decompress", chunk: bytes) -> bytes:
        """Write what `chunk` unpacks to. Returns what is left of it for another member of the archive."""
        while unpacked := inflate.decompress(chunk, UNPACKED_AT_ONCE):
            self._write(unpacked)
            chunk = inflate.unconsumed_tail
        if not inflate.eof or not inflate.unused_data.startswith(b"\x1f\x8b"):
            return b""  # what follows an archive, such as padding, is none of it
        self._inflate = None
        return inflate.unused_data

    def _write(self, content: bytes) -> None:
        self._written += len(content)
        if self._written > self._at_most:
            raise TooLarge(f"The answer unpacks to more than {self._at_most // 10**6} MB.")
        self._file.write(content)


@asynccontextmanager
async def outgoing(
    user_agent: str,
    *,
    allowed: Sequence[Network] = (),
    caps: Caps | None = None,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[Outgoing]:
    """Open what sends requests, while the block runs. `allowed`: networks beside the public internet."""

    def _socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = info
        if not may_connect(str(place[0]), int(place[1]), allowed):
            raise NotPublic("This is not an address of the public internet.")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    caps = caps or Caps()
    connector = aiohttp.TCPConnector(
        socket_factory=_socket, resolver=resolver, use_dns_cache=False, ssl=ssl.create_default_context()
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        skip_auto_headers=("Content-Type",),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_read=caps.headers_s),
        max_line_size=8 * 1024,
        max_field_size=HEADERS_AT_MOST_BYTES,
    ) as session:
        yield Outgoing(session, caps)


def _joined(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {name.lower(): ", ".join(headers.getall(name)) for name in headers}


def _why(error: Exception) -> str:
    """What is told of a failure: not the error's own text, which may contain what the server sent."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "The name of the source cannot be resolved."
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return "There is no secure connection with the source (TLS)."
        case aiohttp.ClientConnectorError():
            return "The source cannot be connected to."
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "The answer of the source breaks off."
        case aiohttp.ClientResponseError():
            return "The answer of the source is not HTTP."
        case _:
            return "The connection with the source broke."

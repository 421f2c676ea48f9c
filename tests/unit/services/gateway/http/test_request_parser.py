"""Requests that offer an upgrade are read as if they did not."""

import httptools
import pytest

from services.gateway.http.request_parser import RequestParser

OFFERS = (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
)
PLAIN = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = (b"Content-Length: 3\r\n", b"abc")
CHUNKS = (b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")


class Receiver:
    """Notes each request that it does not ignore: method, version, path, whether it is kept, body."""

    def __init__(self) -> None:
        self.parser = RequestParser(self)
        self.requests: list[tuple[bytes, str, bytes, bool, bytes]] = []

    def on_message_begin(self) -> None:
        self.url, self.body, self.headers = b"", b"", []  # type: tuple[bytes, bytes, list[tuple[bytes, bytes]]]

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            parser = self.parser
            kept = parser.should_keep_alive()
            self.requests.append((parser.get_method(), parser.get_http_version(), self.url, kept, self.body))


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "websocket"])
@pytest.mark.parametrize(("framing", "body"), [LENGTH, CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_the_body_is_the_body_and_the_next_request_the_next(
    offer: bytes, framing: bytes, body: bytes, piece: int
) -> None:
    receiver = Receiver()
    sent = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\n" + offer + framing + b"\r\n" + body
    sent = PLAIN + sent + sent + PLAIN
    for start in range(0, len(sent), piece):
        receiver.parser.feed_data(sent[start : start + piece])
    plain, offered = (b"GET", "1.1", b"/plain", True, b""), (b"POST", "1.1", b"/a?b=c", True, b"abc")
    assert receiver.requests == [plain, offered, offered, plain]


def test_an_offer_without_a_body_is_a_request_and_the_rest_is_the_next() -> None:
    receiver = Receiver()
    receiver.parser.feed_data(b"GET / HTTP/1.1\r\n" + OFFERS[1] + b"\r\n" + PLAIN)
    assert [path for _, _, path, _, _ in receiver.requests] == [b"/", b"/plain"]


def test_nothing_else_of_the_head_is_lost() -> None:
    receiver = Receiver()
    fields = b"Host: x\r\nX-Latin: caf\xe9\r\nX-Empty:\r\nConnection: close\r\nX-Two: 1\r\nX-Two: 2\r\n"
    receiver.parser.feed_data(b"POST /a HTTP/1.0\r\n" + OFFERS[0] + fields + LENGTH[0] + b"\r\nabc")
    assert receiver.requests == [(b"POST", "1.0", b"/a", False, b"abc")]
    assert receiver.headers == [
        (b"connection", b"Upgrade, HTTP2-Settings"),
        (b"host", b"x"),
        (b"x-latin", b"caf\xe9"),
        (b"x-empty", b""),
        (b"connection", b"close"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"content-length", b"3"),
    ]


@pytest.mark.parametrize(
    "lines",
    [b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 4\r\nContent-Length: 5\r\n"],
    ids=["two framings", "two lengths"],
)
def test_an_offer_makes_nothing_valid(lines: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        Receiver().parser.feed_data(b"POST / HTTP/1.1\r\n" + OFFERS[0] + lines + b"\r\nabcd")


def test_a_tunnel_is_refused() -> None:
    receiver = Receiver()
    with pytest.raises(httptools.HttpParserError):
        receiver.parser.feed_data(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n" + PLAIN)
    assert receiver.requests == []

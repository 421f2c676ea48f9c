"""The HTTP parser, for which a request that offers an upgrade is a request like any other (RFC 9110, 7.8).

Java's HttpClient and `curl --http2` offer HTTP/2 with every request. httptools takes such a head for the whole
request, and what follows for the other protocol: the body would be lost, and be read as the next request.
"""

from array import array
from typing import Protocol

import httptools


class Receiver(Protocol):
    """What the parser calls, and what it has received of the present request."""

    url: bytes
    headers: list[tuple[bytes, bytes]]


class RequestParser(httptools.HttpRequestParser):
    """httptools' parser. It reads a head that offers an upgrade twice; the second time it is without the offer.

    The first time `should_upgrade()` is true in the callbacks. The receiver must ignore the request then.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._start()

    def _start(self) -> None:
        """Be as new: a parser that has read the head of a last request (HTTP/1.0, close) would read no other."""
        super().__init__(self._receiver)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's

    def feed_data(self, data: "bytes | bytearray | memoryview[int] | array[int]") -> None:
        """Parse `data`. Raises HttpParserError, also for CONNECT, whose tunnel nobody here could enter."""
        while data:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("CONNECT") from None
                data = memoryview(data)[offer.args[0] :]  # no copy: there may be thousands of heads in one piece
                head = self._head_without_offer()
                self._start()
                super().feed_data(head)
            else:
                return

    def _head_without_offer(self) -> bytes:
        request = self._receiver
        version = self.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.get_method(), request.url, version)]
        lines += [b"%s: %s" % field for field in request.headers if field[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

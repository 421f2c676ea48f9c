"""HTTP connections that are not left hanging, and answers that leave in one piece.

Whoever connects must send a request's head in time.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 15.0
TAKEN_EVERY_S = 10.0
"""In so long something of the last of an answer must be taken."""
HEAD_AT_MOST = 64 * 1024
"""Bytes before the end of a request's head."""


class CoalescingTransport:
    """A transport that sends the head of an answer with the beginning of its body: one system call, not two."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it; a head waits until the event loop's next turn for what comes after it."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/"):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close when all is sent, or when nobody takes any more of it."""
        self._flush()
        self._transport.close()
        if left := self._transport.get_write_buffer_size():
            self._loop.call_later(TAKEN_EVERY_S, self._look_again, left)

    def _look_again(self, left_before: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left and left < left_before:
            self._loop.call_later(TAKEN_EVERY_S, self._look_again, left)
        elif left:
            self._transport.abort()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's, which has a time limit between requests but none for the first one, and none for a slow head."""

    _watch: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected: the clock runs."""
        super().connection_made(transport)
        self.transport = CoalescingTransport(transport, self.loop)  # type: ignore[assignment]
        self._watch_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_AT_MOST:
                self._too_slow()
                return
        elif self._is_busy or self.timeout_keep_alive_task is not None:
            return
        if self._watch is None and not self._is_busy:  # most heads come whole, and need no clock
            self._watch_head()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered. Until then no more is read than has come."""
        return self.cycle is not None and not self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._head_came()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        self._watch = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _head_came(self) -> None:
        self._in_head = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _too_slow(self) -> None:
        self._head_came()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

"""HTTP connections that time out and end in order, and responses whose head and body are sent together.

A client that connects must send the head of a request in time. A connection is kept for another request only if
the whole request has come before its answer: otherwise what comes next would be taken for the rest of its body,
and a proxy such as HAProxy may send somebody else's request there.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.http.draining import Drain
from services.gateway.http.request_parser import RequestParser

HEAD_WITHIN_S = 15.0
TAKEN_EVERY_S = 10.0
"""After close(), the client must read some of the rest of the response in each period of this many seconds."""
HEAD_AT_MOST = 64 * 1024
"""The maximum size of a request's head, in bytes."""


class CoalescingTransport:
    """A transport that sends a response's head together with the start of its body, in one system call.

    It loses no answer when it closes while the client is in the middle of a request.
    """

    __slots__ = ("_head", "_loop", "_transport", "drain", "mid_request")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.mid_request = False
        """A request has begun to come in, and has not come to its end."""
        self.drain: Drain | None = None
        """Gets what comes in from now on, because the connection is about to close."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the wrapped transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data`. A head waits for the body until the event loop's next turn."""
        if self.drain is not None:  # such as the rest of a response that was under way when garbage came in
            return
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/"):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether no more can be sent."""
        return self.drain is not None or self._transport.is_closing()

    def close(self) -> None:
        """Close when everything is sent, and has come that is coming. A second call does not wait for that."""
        self._flush()
        if self.mid_request and not self.is_closing():
            self.drain = Drain(self._transport, self._loop, self._close)
        else:
            self._close()

    def _close(self) -> None:
        """Close when everything is sent, or abort when the client no longer reads."""
        self._transport.close()
        if left := self._transport.get_write_buffer_size():
            self._loop.call_later(TAKEN_EVERY_S, self._abort_if_stuck, left)

    def _abort_if_stuck(self, before: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left and left < before:
            self._loop.call_later(TAKEN_EVERY_S, self._abort_if_stuck, left)
        elif left:
            self._transport.abort()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with two more timeouts: for the first request, and for a head that arrives slowly."""

    _connection: CoalescingTransport
    _head_timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _keeps_alive = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = RequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request's head."""
        super().connection_made(transport)
        self._connection = CoalescingTransport(transport, self.loop)
        self.transport = self._connection  # type: ignore[assignment]
        self._start_head_timer()

    def on_message_begin(self) -> None:
        """Note that a request's head begins. Its scope gets `argosy.reset`, which ends the connection at once."""
        self._in_head, self._head_bytes = True, 0
        self._connection.mid_request = True
        super().on_message_begin()
        self.scope["argosy.reset"] = self._abort  # type: ignore[typeddict-unknown-key]

    def data_received(self, data: bytes) -> None:
        """Parse `data`. Aborts if the head is too large, and starts its timer if it is incomplete."""
        if self._connection.drain is not None:
            self._connection.drain.received(len(data))
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_AT_MOST:
                self._abort()
                return
        elif self._is_busy or self.timeout_keep_alive_task is not None:
            return
        if self._head_timer is None and not self._is_busy:  # most heads arrive at once, and need no timer
            self._start_head_timer()

    @property
    def _is_busy(self) -> bool:
        """Whether a response is under way, during which uvicorn reads no further request."""
        return self.cycle is not None and not self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """Stop the timer, because the head is complete. An answer from now on ends the connection."""
        if self.parser.should_upgrade():
            return
        self._stop_head_timer()
        super().on_headers_complete()
        self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_message_complete(self) -> None:
        """Keep the connection after the answer, because the whole request has come before it."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._connection.mid_request = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def shutdown(self) -> None:
        """Close the connection, or keep it no longer than for the answer that is under way."""
        self._keeps_alive = False
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._abort)

    def _stop_head_timer(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _abort(self) -> None:
        self._stop_head_timer()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

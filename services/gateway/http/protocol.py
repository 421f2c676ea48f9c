"""HTTP connections that time out and end in order, and hold little memory however slowly their answers are read.

A client that connects must send the head of a request in time, and take its answers. The next request on a
connection is not read before the answer to the one before is taken, so a client that sends many and reads nothing
makes no answers. A connection is kept for another request only if the whole request has come before its answer:
otherwise what comes next would be taken for the rest of its body, and a proxy such as HAProxy may send somebody
else's request there.

What the parser refuses is answered by the application, as every other request is.
"""

import asyncio
import socket
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.gateway.http.request_parser import RequestParser
from services.gateway.http.transport import CoalescingTransport
from services.gateway.problems import BadRequest, HeadTooLarge, Problem

HEAD_WITHIN_S = 15.0
HEAD_AT_MOST = 64 * 1024
"""The maximum size of a request's head, in bytes."""
WAITING_AT_MOST = 16 * 1024
"""Bytes of answers that may wait in this process before more is made of them."""
UNSENT_AT_MOST = 16 * 1024
"""Bytes that the kernel takes ahead of what the client has room for; by default it is up to 4 MB a connection."""
UNREAD_AT_MOST = 512 * 1024
"""Bytes of further requests that may wait behind one; a single read has up to 256 KB."""
_END_OF_HEAD = b"\r\n\r\n"


class _Flow(FlowControl):
    """Uvicorn's flow control with what has come and has to wait. Who listens for the client's end reads on."""

    unread = b""
    """What has come, but has to wait."""

    def hold(self, unread: bytes) -> None:
        self.unread = unread
        self.pause_reading()


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with timeouts for the first request, slow heads, and answers that are not taken."""

    flow: _Flow
    _connection: CoalescingTransport
    _head_timer: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    """The request that is being answered. `cycle`, the last one that was read, may wait for its turn."""
    _in_head = True
    _head_bytes = 0
    _piece_bytes = 0
    """Of the present head before the piece that is being parsed, and of that piece."""
    _keeps_alive = False
    _is_untaken = False
    """The answer is complete, and more of it waits for the client than may wait."""
    _is_refused = False
    """What has come can be read no further."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = RequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request's head."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        transport.set_write_buffer_limits(WAITING_AT_MOST)
        _limit_unsent(transport)
        self._connection = CoalescingTransport(transport, self.loop)
        self.transport = self._connection  # type: ignore[assignment]
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Read requests from `data`, up to one that has to wait for the answer to the one before."""
        if self._connection.drain is not None:
            self._connection.drain.received(len(data))
        elif self._has_to_wait:
            self.flow.hold(self.flow.unread + data)
            if len(self.flow.unread) > UNREAD_AT_MOST:
                self._abort()
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        begun = 0
        while begun < len(data) and not self._is_refused and not self.transport.is_closing():
            if self._has_to_wait:
                self.flow.hold(data[begun:])
                return
            end = _end_of_piece(data, begun)
            self._parse(data if end - begun == len(data) else memoryview(data)[begun:end])
            begun = end

    def _parse(self, piece: "bytes | memoryview[int]") -> None:
        """Parse `piece`, which has the end of one head at most. Starts the timer of a head that is incomplete."""
        self._unset_keepalive_if_required()
        self._piece_bytes = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError:
            is_too_large = self._in_head and self._head_is_too_large
            self._refuse(HeadTooLarge() if is_too_large else BadRequest("The request is not well-formed."))
            return
        if self._in_head:
            self._head_bytes += len(piece)
            if self._head_bytes > HEAD_AT_MOST:
                self._refuse(HeadTooLarge())
                return
        elif self._is_busy or self.timeout_keep_alive_task is not None:
            return
        if self._head_timer is None and not self._is_busy:  # most heads arrive at once, and need no timer
            self._start_head_timer()

    @property
    def _head_is_too_large(self) -> bool:
        """Whether the head that has been parsed is too large. Most cannot be: so little has come."""
        if self._head_bytes + self._piece_bytes <= HEAD_AT_MOST:
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_AT_MOST

    @property
    def _is_busy(self) -> bool:
        """Whether a response is under way, or is not taken yet."""
        return self._is_untaken or (self._answering is not None and not self._answering.response_complete)

    @property
    def _has_to_wait(self) -> bool:
        """Whether what comes next is a request that has to wait for an answer to another one."""
        return self._is_busy and (bool(self.pipeline) or not self._connection.mid_request)

    def _refuse(self, problem: Problem) -> None:
        """Let `problem` be the answer to what cannot be read, after which the connection ends."""
        self._is_refused = True
        if self._connection.mid_request and not self._in_head:  # a body, which the application may be reading
            self.scope["argosy.refusal"] = problem  # type: ignore[typeddict-unknown-key]
            self.cycle.more_body = False
            self.cycle.message_event.set()
            return
        self._stop_head_timer()
        self._connection.mid_request = True  # more may come
        self.on_message_begin()
        self.scope |= {"method": "-", "path": "-", "raw_path": b"-", "query_string": b""}
        self.scope["argosy.refusal"] = problem  # type: ignore[typeddict-unknown-key]
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        cycle.message_event.set()
        self.cycle = cycle
        if self._is_busy:
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)

    def on_message_begin(self) -> None:
        """Note that a request's head begins. Its scope gets `argosy.reset`, which ends the connection at once."""
        self._in_head, self._head_bytes = True, 0
        self._connection.mid_request = True
        super().on_message_begin()
        self.scope["argosy.reset"] = self._abort  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Stop the timer, because the head is complete. An answer from now on ends the connection."""
        if self.parser.should_upgrade():
            return
        if self._head_is_too_large:
            raise httptools.HttpParserError("too large")
        super().on_headers_complete()
        self._stop_head_timer()
        self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_message_complete(self) -> None:
        """Keep the connection after the answer, because the whole request has come before it."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._connection.mid_request = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """Go on to the next request, once the client has taken this answer."""
        if self.flow.write_paused and not self.transport.is_closing():
            self._is_untaken = True
            return
        unread, self.flow.unread = self.flow.unread, b""
        super().on_response_complete()
        self._read(unread)

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes what waits."""
        super().pause_writing()
        self._connection.watch()

    def resume_writing(self) -> None:
        """Go on: the client has taken most of what waited."""
        if not self.transport.is_closing():
            self._connection.unwatch()
        super().resume_writing()
        if self._is_untaken:
            self._is_untaken = False
            self.on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def shutdown(self) -> None:
        """Close the connection, or keep it no longer than for the answer that is under way."""
        self._keeps_alive = False
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered. Those that wait for their turn are forgotten."""
        self._stop_head_timer()
        self._is_untaken, self.flow.unread = False, b""
        self.pipeline.clear()
        if self._answering is not None:
            self.cycle = self._answering
        self._connection.unwatch()
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


def _end_of_piece(data: bytes, begun: int) -> int:
    """Where the first head that ends in `data` after `begun` ends, so that no piece has the ends of two.

    Line ends with which `data` begins are pieces of their own: they may be the rest of the end of a head.
    """
    if begun < len(_END_OF_HEAD) - 1 and data[begun] in b"\r\n":
        return begun + 1
    found = data.find(_END_OF_HEAD, begun)
    return len(data) if found < 0 else found + len(_END_OF_HEAD)


def _limit_unsent(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_AT_MOST)

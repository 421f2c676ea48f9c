"""A connection's transport: answers leave in one piece, and a client that does not take them is cut off."""

import asyncio
from typing import Any

from services.gateway.http.draining import Drain

TAKEN_EVERY_S = 30.0
"""Of an answer that waits for the client, it must take some in each period of this many seconds. The kernel takes
over 8 KB at a time (UNSENT_AT_MOST in protocol.py), so this is a speed of 300 bytes a second; who pauses between
parts of a download, for example to pass them on, has as long."""
LAST_TAKEN_EVERY_S = 10.0
"""The same after close(). It is less than a gateway has to stop in."""
COPIED_AT_MOST = 16 * 1024
"""Bytes of a body up to which it is copied behind its head. A larger one is sent as it is: many may share it."""


class CoalescingTransport:
    """A transport that sends a response's head together with the start of its body, in one system call.

    It loses no answer when it closes while the client is in the middle of a request.
    """

    __slots__ = ("_head", "_loop", "_transport", "_watch", "drain", "mid_request")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._watch: asyncio.TimerHandle | None = None
        self.mid_request = False
        """A request has begun to come in, and has not come to its end."""
        self.drain: Drain | None = None
        """Gets what comes in from now on, because the connection is about to close."""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the wrapped transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data`, if somebody is there. A head waits for the body until the event loop's next turn."""
        if self.is_closing():  # such as the rest of a response that was under way when the client left
            return
        if self._head:
            head, self._head = self._head, b""
            if len(data) > COPIED_AT_MOST:
                self._transport.writelines((head, data))
            else:
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

    def watch(self) -> None:
        """Abort when the client takes nothing in a period of what waits, which begins now."""
        self.unwatch()
        within_s = LAST_TAKEN_EVERY_S if self.is_closing() else TAKEN_EVERY_S
        self._watch = self._loop.call_later(within_s, self._check, self._transport.get_write_buffer_size())

    def unwatch(self) -> None:
        """Nothing waits for the client, or nobody is there."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _close(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.watch()

    def _check(self, before: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left and left < before:
            self.watch()
        elif left:
            self._transport.abort()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

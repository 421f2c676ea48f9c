"""The end of a connection on which the client is still sending.

If it were closed at once, the kernel would answer what comes next with a reset, and a reset destroys an answer
that the client has not read yet. So the gateway ends its own side first, and reads and drops the rest (RFC 9112,
9.6).
"""

import asyncio
from collections.abc import Callable

DRAIN_WITHIN_S = 30.0
"""A letter of 25 MB comes in at 10 Mbit/s meanwhile, from a client that reads only when it has sent everything."""
DRAIN_AT_MOST = 256 * 1024**2
"""Bytes: more than the largest upload (GATEWAY_MAX_UPLOAD_BYTES, 200 MiB by default). A refused one costs no more
than one that is accepted."""
CHECK_EVERY_S = 5.0
DRAIN_BYTES_PER_S = 1024
"""The client must go on at this rate, which is also that of a body that is read (admission.py)."""


class Drain:
    """Reads and drops what comes, within the bounds above. Then it calls `close`."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._close = close
        self._received = self._received_before = 0
        self._until = loop.time() + DRAIN_WITHIN_S
        transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()
        loop.call_later(CHECK_EVERY_S, self._check)

    def received(self, size: int) -> None:
        """Count `size` bytes that were dropped."""
        self._received += size
        if self._received > DRAIN_AT_MOST:
            self._close()

    def _check(self) -> None:
        if self._transport.is_closing():
            return
        is_slow = self._received - self._received_before < CHECK_EVERY_S * DRAIN_BYTES_PER_S
        self._received_before = self._received
        if is_slow or self._loop.time() >= self._until:
            self._close()
        else:
            self._loop.call_later(CHECK_EVERY_S, self._check)

"""HTTP connections that are not left hanging: whoever connects must send a request's head in time."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 15.0
HEAD_AT_MOST = 64 * 1024
"""Bytes before the end of a request's head."""


class Protocol(HttpToolsProtocol):
    """Uvicorn's, which has a time limit between requests but none for the first one, and none for a slow head."""

    _watch: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected: the clock runs."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._watch is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        super().data_received(data)
        if self._watch is not None:  # still no end of the head
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_AT_MOST:
                self._too_slow()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._head_came()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._watch = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _head_came(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _too_slow(self) -> None:
        self._head_came()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

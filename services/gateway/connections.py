"""HTTP connections that are not left hanging: whoever connects must send a request's head in time."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_WITHIN_S = 15.0
HEAD_AT_MOST = 64 * 1024
"""Bytes before the end of a request's head."""


class Protocol(HttpToolsProtocol):
    """Uvicorn's, which has a time limit between requests but none for the first one, and none for a slow head."""

    _watch: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected: the clock runs."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._expect_head()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        super().data_received(data)
        if self._in_head and self._watch is not None:
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
        self._in_head, self._head_bytes = True, 0
        if self._watch is None:
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

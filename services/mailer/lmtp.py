"""An LMTP server's connection that takes large messages and keeps only their beginning.

A report of a failure may return the whole letter, and its lines may be longer than SMTP allows. What it says
stands at its beginning. aiosmtpd keeps whole messages, and refuses them for one long line.
"""

import asyncio
from typing import Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import syntax

MESSAGE_BYTES_AT_MOST = 32 * 1024 * 1024
"""More than the 25 MB that common servers take by default, and a third for the encoding in base64."""
KEPT_BYTES = 1024 * 1024
"""As much of each message is kept."""


class ReportSession(LMTP):
    """One connection. `envelope.original_content` has the beginning of each message."""

    def __init__(self, handler: object, **options: Any) -> None:
        super().__init__(handler, data_size_limit=MESSAGE_BYTES_AT_MOST, **options)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:
        """Receive a message. It is answered once for each recipient (RFC 2033, 4.2)."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None  # noqa: S101 - there is one from the connection on
        recipients = len(self.envelope.rcpt_tos)
        if arg or not recipients:
            await self.push("501 Syntax: DATA" if arg else "503 Error: need RCPT command")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        content, size = await _receive(self._reader)
        if size > MESSAGE_BYTES_AT_MOST:
            status = "552 5.3.4 Error: Too much mail data"
        else:
            self.envelope.content = self.envelope.original_content = content
            status = await self.event_handler.handle_DATA(self, self.session, self.envelope)
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        for _ in range(recipients):
            await self.push(status)


async def _receive(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """Read a message to its final dot. Returns its first KEPT_BYTES, dots undoubled, and its bytes."""
    kept, size, is_line_start = bytearray(), 0, True
    while True:
        try:
            piece = await reader.readuntil(b"\r\n")
            is_line_end = True
        except asyncio.LimitOverrunError as error:  # a line longer than the reader's buffer comes in pieces
            piece = await reader.readexactly(error.consumed)
            is_line_end = False
        if is_line_start and piece == b".\r\n":
            return bytes(kept[:KEPT_BYTES]), size
        size += len(piece)
        if len(kept) < KEPT_BYTES:
            kept += piece[1:] if is_line_start and piece.startswith(b".") else piece
        is_line_start = is_line_end

"""Answers that are ready before the request's body has come, such as a 401 or a 429.

Such an answer ends the connection (protocol.py). Clients and proxies often send head and body apart, so without
this most refusals of a small request would cost a new connection, just when there is much to do. So an answer
waits a moment for the rest of a small body. A large one is not waited for.
"""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REST_WITHIN_S = 1.0
"""More than a round trip takes anywhere: a body that is on its way is there by then."""
REST_AT_MOST = 64 * 1024
"""Bytes: as much of a body as uvicorn keeps before it stops reading."""


class EarlyAnswers:
    """ASGI middleware. Reads the rest of a small body before the answer is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not _has_small_body(scope["headers"]):
            await self._app(scope, receive, send)
            return
        is_complete = False

        async def receive_noting() -> Message:
            nonlocal is_complete
            message = await receive()
            is_complete = not message.get("more_body", False)
            return message

        async def read_rest() -> None:
            left = REST_AT_MOST
            async with asyncio.timeout(REST_WITHIN_S):
                while not is_complete and left > 0:
                    left -= len((await receive_noting()).get("body", b""))

        async def send_when_read(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_complete:
                with suppress(TimeoutError):
                    await read_rest()
            await send(message)

        await self._app(scope, receive_noting, send_when_read)


def _has_small_body(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body of at most REST_AT_MOST bytes, or of unknown length, is on its way by itself."""
    fields = dict(headers)
    if b"expect" in fields:  # the client waits for our word, and is spared the sending
        return False
    announced = fields.get(b"content-length", b"0")
    return b"transfer-encoding" in fields or (announced.isdigit() and 0 < int(announced) <= REST_AT_MOST)

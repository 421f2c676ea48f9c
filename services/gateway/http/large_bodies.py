"""Room for large bodies: few at a time for a key, for a tenant and in this process, because each costs memory.

A body waits for its room before it is read; what a client has sent until then stays in the buffers of its
connection.
"""

from contextlib import AsyncExitStack
from typing import Any, Self

from starlette.requests import Request

from services.gateway.http.admission import caller, charged_while
from services.gateway.http.state import state_of

LARGE_BYTES = 1024 * 1024
"""A body of more than so many bytes is large."""


class RoomForBody:
    """The room for one request's body, until the block ends: then it is to be no longer in memory."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._held: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._held:
            await self._held.__aexit__(*error)

    async def reserve(self, size: int) -> None:
        """Get room for `size` bytes in all. Raises LimitExceeded, Overloaded."""
        if size <= LARGE_BYTES or self._held:
            return
        self._held = AsyncExitStack()
        await self._held.enter_async_context(charged_while(self._request, "large-bodies"))
        place = state_of(self._request).large_bodies.place(caller(self._request).tenant)
        await self._held.enter_async_context(place)

"""Room for large bodies: few at a time for a key, for a tenant and in this process, because each costs memory.

A body waits for its room before it is read; what a client has sent until then stays in the buffers of its
connection.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import Request

from services.gateway.http.admission import caller, charged_while
from services.gateway.http.state import state_of

LARGE_BYTES = 1024 * 1024
"""A body of more than so many bytes is large."""


class RoomForBody:
    """The room that the body of one request has."""

    def __init__(self, request: Request, held: AsyncExitStack) -> None:
        self._request = request
        self._held = held
        self._is_large = False

    async def reserve(self, size: int) -> None:
        """Get room for `size` bytes in all. Raises LimitExceeded, Overloaded."""
        if size <= LARGE_BYTES or self._is_large:
            return
        self._is_large = True
        await self._held.enter_async_context(charged_while(self._request, "large-bodies"))
        place = state_of(self._request).large_bodies.place(caller(self._request).tenant)
        await self._held.enter_async_context(place)


@asynccontextmanager
async def room_for_body(request: Request) -> AsyncIterator[RoomForBody]:
    """The room for the request's body, while the block runs: it is to end when the body is no longer in memory."""
    async with AsyncExitStack() as held:
        yield RoomForBody(request, held)

"""/livez and /readyz on the public port."""

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

ASKED_EVERY_S = 0.5


class Readiness:
    """What the servers behind us said the last time they were asked: not at every caller's wish."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answers: tuple[bool, ...] = (False, False)

    async def look(self, state: Any) -> tuple[bool, ...]:
        """Whether PostgreSQL and Redis answer."""
        async with self._asking:
            if time.monotonic() - self._asked_at > ASKED_EVERY_S:
                database, redis = state.database.reachable(), state.limiter.reachable()
                self._answers = tuple(await asyncio.gather(database, redis))
                self._asked_at = time.monotonic()
        return self._answers


async def alive(_request: Request) -> Response:
    """The process turns. Asks no other server."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Whether requests can be served: with the ledger, yes. The rest is told for the operator's eyes."""
    state = request.app.state
    database, redis = await state.ready.look(state)
    parts = {"postgres": database, "redis": redis, "nats": state.bus.connected, "limits": state.limiter.mode.value}
    serving = database and not state.draining.is_set()
    return JSONResponse({"ready": serving, **parts}, status_code=200 if serving else 503)

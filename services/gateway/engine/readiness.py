"""What the servers behind the gateway said the last time they were asked: not at every caller's wish."""

import asyncio
import time

from libs.common.db import Database
from services.gateway.limits.limiter import Limiter

ASKED_EVERY_S = 0.5


class Readiness:
    """Asks the servers whether they answer, at most once in ASKED_EVERY_S."""

    def __init__(self, database: Database, limiter: Limiter) -> None:
        self._database = database
        self._limiter = limiter
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answers = (False, False)

    async def look(self) -> tuple[bool, bool]:
        """Whether PostgreSQL and Redis answer."""
        async with self._asking:
            if time.monotonic() - self._asked_at > ASKED_EVERY_S:
                database, redis = await asyncio.gather(self._database.reachable(), self._limiter.reachable())
                self._answers = (database, redis)
                self._asked_at = time.monotonic()
        return self._answers

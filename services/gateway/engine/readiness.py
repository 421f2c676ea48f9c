"""Whether PostgreSQL and Redis can be reached, cached so that callers of /readyz cannot cause load on them."""

import asyncio
import time

from libs.common.db import Database
from services.gateway.limits.limiter import Limiter

CHECK_EVERY_S = 0.5


class Readiness:
    """Checks the servers, at most once in CHECK_EVERY_S seconds."""

    def __init__(self, database: Database, limiter: Limiter) -> None:
        self._database = database
        self._limiter = limiter
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._results = (False, False)

    async def check(self) -> tuple[bool, bool]:
        """Whether PostgreSQL and whether Redis can be reached."""
        async with self._lock:
            if time.monotonic() - self._checked_at > CHECK_EVERY_S:
                database, redis = await asyncio.gather(self._database.reachable(), self._limiter.reachable())
                self._results = (database, redis)
                self._checked_at = time.monotonic()
        return self._results

"""Takes turns with a host: one request at a time, of all workers together, and none before its next moment.

Who has the turn keeps `next_at` a few seconds ahead while it lasts. So a worker that dies holds nobody up long,
and one that was frozen does not shorten the turn of another: it changes the row only while `next_at` is its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from libs.common import background, metrics
from libs.common.db import Database
from libs.common.errors import Unavailable
from services.sync.addresses import origin_of
from services.sync.refusals import SourceTooSlow, SourceUnavailable, Wait

HELD_S = 12.0
"""A turn whose worker has died ends after so long."""
PATIENCE_S = 2.0
"""A turn that does not come within this time is not waited for."""
FAILURES_FROM_S, FAILURES_TO_S = 15.0, 3_600.0
"""How long a host is left alone after its first failure; each further one doubles it, up to the second figure."""
POSTPONED_AT_MOST = timedelta(hours=1)
"""A host is shared by tenants: what it asks of one of them holds the others up no longer."""

_TAKE = """
INSERT INTO sync.hosts AS h (host, next_at) VALUES ($1, now() + $2::float8 * interval '1 second')
ON CONFLICT (host) DO UPDATE SET next_at = excluded.next_at WHERE h.next_at <= now() RETURNING next_at, failures
"""
_WHEN = "SELECT next_at, now() AS now FROM sync.hosts WHERE host = $1"
_KEEP = """
UPDATE sync.hosts SET next_at = now() + $3::float8 * interval '1 second' WHERE host = $1 AND next_at = $2
RETURNING next_at
"""
_LEAVE = """
UPDATE sync.hosts SET next_at = now() + $3::float8 * interval '1 second', failures = $4
WHERE host = $1 AND next_at = $2
"""
_ROBOTS = "SELECT robots, robots_at FROM sync.hosts WHERE host = $1"
_KEEP_ROBOTS = "UPDATE sync.hosts SET robots = $2, robots_at = now() WHERE host = $1"


@dataclass(slots=True)
class Turn:
    """The turn that a worker has. `postpone`: until when the host wants to be left alone then."""

    host: str
    held: datetime
    failures: int
    gap_s: float
    """Until the next turn."""
    postpone: datetime | None = None


def host_of(url: str) -> str:
    """The name of a host, with the port: the same for all that must take turns."""
    _, name, port = origin_of(url)
    return f"{name}:{port}"


class Hosts:
    """The hosts of all sources, in the database."""

    def __init__(
        self, database: Database, *, gap_s: float, held_s: float = HELD_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._database = database
        self._gap_s = gap_s
        self._held_s = held_s
        self._patience_s = patience_s

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[Turn]:
        """Have the turn while the block runs. Raises Wait if it does not come soon."""
        turn = await self._taken(host)
        try:
            async with background.alongside(background.optional(self._hold(turn))):
                yield turn
        except (SourceUnavailable, SourceTooSlow):
            turn.failures += 1
            wait_s = min(FAILURES_TO_S, FAILURES_FROM_S * 2.0 ** min(turn.failures - 1, 20))
            await self._leave(turn, wait_s)
            raise
        except BaseException:
            await self._leave(turn, _rest_s(turn))
            raise
        turn.failures = 0
        await self._leave(turn, _rest_s(turn))

    async def robots(self, host: str) -> tuple[str | None, datetime | None]:
        """The robots.txt of a host, and when it was read; empty: there is none, None: it was never asked for."""
        rows = await self._database.fetch(_ROBOTS, host)
        return (rows[0]["robots"], rows[0]["robots_at"]) if rows else (None, None)

    async def keep_robots(self, host: str, text: str) -> None:
        """Keep the robots.txt of a host that has had a turn."""
        await self._database.fetch(_KEEP_ROBOTS, host, text)

    async def _taken(self, host: str) -> Turn:
        began = time.monotonic()
        while True:
            if rows := await self._database.fetch(_TAKE, host, self._held_s):
                metrics.sync_host_wait_seconds.observe(time.monotonic() - began)
                return Turn(host, rows[0]["next_at"], rows[0]["failures"], self._gap_s)
            (row,) = await self._database.fetch(_WHEN, host)
            wait_s = (row["next_at"] - row["now"]).total_seconds()
            left_s = self._patience_s - (time.monotonic() - began)
            if left_s <= 0 or wait_s > max(left_s, self._held_s):
                raise Wait(
                    datetime.now(UTC) + timedelta(seconds=max(wait_s, 0.1)), "The host is not to be asked now."
                )
            await asyncio.sleep(min(max(wait_s, 0.01), 0.1, left_s))

    async def _hold(self, turn: Turn) -> None:
        while True:
            await asyncio.sleep(self._held_s / 4)
            with background.surviving("Hosts._hold"):
                rows = await self._database.fetch(_KEEP, turn.host, turn.held, self._held_s)
                if not rows:  # this worker was frozen, and another one has the turn
                    await asyncio.Event().wait()
                turn.held = rows[0]["next_at"]

    async def _leave(self, turn: Turn, wait_s: float) -> None:
        with suppress(Unavailable):  # then it ends by itself
            await self._database.fetch(_LEAVE, turn.host, turn.held, wait_s, turn.failures)


def _rest_s(turn: Turn) -> float:
    postponed = min((turn.postpone or datetime.now(UTC)) - datetime.now(UTC), POSTPONED_AT_MOST)
    return max(turn.gap_s, postponed.total_seconds())

"""Takes the tickets of one queue for the free slots of a worker, by credit.

A pull request for as many tickets as there are free slots is kept open, so a ticket reaches a waiting worker
without a round trip. This module handles the pitfalls of pull requests: one that died with its server is detected
by missing heartbeats, and every request expires.
"""

import asyncio
import time
from uuid import UUID

import orjson
from nats.aio.msg import Msg

from libs.common.bus.connection import DOWN, Connection
from libs.common.bus.names import CONSUMER, stream_of

REQUEST_EXPIRES_S = 30.0
REQUEST_HEARTBEAT_S = 2.0


class Tickets:
    """Pulls the tickets of one queue by credit. Only one task may use it."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self.inbox = connection.new_inbox()
        self._nats = connection
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}"
        self._credit = 0
        self._epoch = connection.epoch
        self._received: list[UUID] = []
        self._arrived = asyncio.Event()
        self._last_message_at = time.monotonic()

    async def receive(self, message: Msg) -> None:
        """Callback of the NATS client, for every ticket and every status message of a pull request."""
        self._last_message_at = time.monotonic()
        self._nats.note_answered()
        if message.headers is None:
            self._credit -= 1
            self._received.append(UUID(bytes=message.data))
        else:
            status = message.headers.get("Status")
            if status == "100":
                return
            if status != "408":  # the consumer does not exist, or no longer: the next `take` sends a new request
                self._credit = 0
                return
            self._credit = max(0, self._credit - int(message.headers.get("Nats-Pending-Messages", "0")))
        self._arrived.set()

    async def take(self, limit: int, *, ahead: int = 0, wait_s: float) -> list[UUID]:
        """Return at most `limit` tickets as soon as there is one, or an empty list after `wait_s` seconds.

        `ahead`: how many more tickets to request, so that the next call need not wait for them.
        """
        await self._pull(limit + ahead - len(self._received))
        if not self._received:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken, self._received = self._received[:limit], self._received[limit:]
        return taken

    def give_back(self) -> list[UUID]:
        """Return the tickets that have arrived and were not taken, and forget them."""
        left, self._received = self._received, []
        return left

    async def _pull(self, wanted: int) -> None:
        """Request tickets until the server owes us `wanted`."""
        silent = time.monotonic() - self._last_message_at > 3 * REQUEST_HEARTBEAT_S
        if silent and self._credit:
            await self._nats.note_unanswered()
        if silent or self._epoch != self._nats.epoch:
            self._epoch = self._nats.epoch
            self._last_message_at = time.monotonic()
            self._credit = 0
        missing = wanted - self._credit
        if missing <= 0 or not self._nats.is_connected:
            return
        if self._credit == 0:
            self._last_message_at = time.monotonic()
        request = {
            "batch": missing,
            "expires": int(REQUEST_EXPIRES_S * 1e9),
            "idle_heartbeat": int(REQUEST_HEARTBEAT_S * 1e9),
        }
        try:
            await self._nats.publish(self._next, orjson.dumps(request), self.inbox)
        except DOWN:
            return
        self._credit += missing

"""The conveyor: job tickets over NATS JetStream, from the ledger to whichever worker is free.

A ticket is the 16 bytes of a job id. The conveyor may lose any ticket: the ledger records which jobs have a
ticket out, and the dispatcher publishes a lost ticket again. So the stream is kept in memory, tickets are
published without waiting for an acknowledgement, and a ticket leaves the stream when it is delivered.

Workers pull by credit: each keeps a pull request open for as many tickets as it has free slots, so a ticket
reaches a waiting worker without a round trip. This module handles the pitfalls of pull requests: a request that
died with its server is detected by missing heartbeats, every request expires, and closing does not drain.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import nats.errors
import orjson
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

from libs.common import background, log
from libs.common.backoff import delays
from libs.common.config import BusSettings
from libs.common.errors import Unavailable, message_of

TICKET_LIFE_S = 600.0
"""Older tickets are dropped from the stream. They are published again if their jobs still wait."""
REQUEST_EXPIRES_S = 30.0
REQUEST_HEARTBEAT_S = 2.0
REPLY_WITHIN_S = 2.0
FLUSHED_WITHIN_S = 0.5
"""How long a publish waits for the client to send its buffer when too much is unsent."""
CONSUMER = "workers"
RPC_GROUP = "answerers"
"""The queue group of the processes that serve requests: each request is delivered to one of them."""
YIELD_EVERY = 250
"""Tickets published between two yields to the event loop: a few milliseconds of work."""

logger = log.get("bus")

_DOWN = (nats.errors.Error, APIError, NoStreamResponseError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of a queue's stream at one moment."""

    depth: int
    """Tickets that no worker has taken yet."""
    taken: int
    """Tickets taken since the stream was created."""
    oldest: datetime | None
    """When the oldest ticket in the stream was published, by the NATS server's clock; None if there is none."""


class Bus:
    """A connection to NATS that reconnects without limit."""

    def __init__(self, connection: Client, connecting: asyncio.Task[None]) -> None:
        self._nats = connection
        self._connecting = connecting
        self.epoch = 0
        """Counts reconnects. After each one, the server has forgotten the pull requests made before it."""

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return bool(self._nats.is_connected)

    async def create_stream(self, queue: str) -> None:
        """Create the stream and the consumer of `queue` if they do not exist. Raises Unavailable."""
        jetstream = self._nats.jetstream(timeout=REPLY_WITHIN_S)
        try:
            await jetstream.add_stream(
                StreamConfig(
                    name=stream_of(queue),
                    subjects=[tickets_subject(queue)],
                    retention=RetentionPolicy.INTEREST,
                    storage=StorageType.MEMORY,
                    max_age=TICKET_LIFE_S,
                )
            )
            await jetstream.add_consumer(
                stream_of(queue), ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.NONE)
            )
        except _DOWN as error:
            raise Unavailable(f"NATS: {message_of(error)}") from error

    async def publish_tickets(self, queue: str, ids: Iterable[UUID]) -> bool:
        """Publish the tickets of `ids` without waiting. False if the connection is down: treat all as lost."""
        if not self._nats.is_connected:
            return False
        subject = tickets_subject(queue)
        try:
            for number, job_id in enumerate(ids):
                await self._nats.publish(subject, job_id.bytes)
                if number % YIELD_EVERY == YIELD_EVERY - 1:
                    await asyncio.sleep(0)
        except _DOWN:
            return False
        return True

    async def stream_state(self, queue: str) -> StreamState:
        """The state of the stream of `queue`. Creates the stream if it is gone. Raises Unavailable."""
        try:
            # nats-py's own StreamState lacks first_ts.
            reply = await _request(self._nats, f"$JS.API.STREAM.INFO.{stream_of(queue)}")
        except _DOWN as error:
            raise Unavailable(f"NATS: {message_of(error)}") from error
        state: dict[str, Any] = orjson.loads(reply.data).get("state", {})
        if not state.get("consumer_count"):
            await self.create_stream(queue)
            return StreamState(depth=0, taken=0, oldest=None)
        depth = state["messages"]
        oldest = datetime.fromisoformat(state["first_ts"]) if depth else None
        return StreamState(depth=depth, taken=state["last_seq"] - depth, oldest=oldest)

    async def publish(self, subject: str, message: bytes) -> None:
        """Send `message` to the current subscribers of `subject`. A loss is not reported."""
        if self._nats.is_connected:
            with suppress(*_DOWN):
                await self._nats.publish(subject, message)

    @asynccontextmanager
    async def listening(self, subject: str, handler: Callable[[bytes], None]) -> AsyncIterator[None]:
        """Call `handler` with every message on `subject` while the block runs.

        Waits for the first connection. A message for which `handler` raises ValueError is logged and skipped.
        """

        async def on_message(message: Msg) -> None:
            try:
                handler(message.data)
            except ValueError as error:  # not a message of this fleet
                logger.warning("bus.unreadable", subject=message.subject, error=str(error))

        async with self._subscribed(subject, on_message):
            yield

    async def request(self, subject: str, message: bytes, *, within_s: float) -> bytes:
        """Send `message` to one of the processes that serve `subject`, and return its reply.

        Raises Unavailable, or TimeoutError after `within_s` seconds.
        """
        try:
            reply = await _request(self._nats, subject, message, within_s=within_s)
        except TimeoutError as error:
            raise TimeoutError(f"No reply on {subject} within {within_s:g} s.") from error
        except nats.errors.NoRespondersError as error:
            raise Unavailable(f"No process serves {subject}.") from error
        except _DOWN as error:
            raise Unavailable(f"NATS: {message_of(error)}") from error
        return bytes(reply.data)

    @asynccontextmanager
    async def serving(
        self, subject: str, handler: Callable[[str, bytes], Awaitable[bytes]]
    ) -> AsyncIterator[None]:
        """Reply to requests on `subject` (which may end in `.*`) while the block runs.

        If several processes serve a subject, each request is delivered to one of them. `handler` gets the subject
        and the message, and returns the reply. Waits for the first connection.
        """

        async def respond(message: Msg) -> None:
            reply = await handler(message.subject, message.data)
            with suppress(*_DOWN):
                await message.respond(reply)

        async def on_message(message: Msg) -> None:
            task = asyncio.create_task(respond(message))  # a slow request must not delay the next one
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        tasks: set[asyncio.Task[None]] = set()
        try:
            async with self._subscribed(subject, on_message, group=RPC_GROUP):
                yield
        finally:
            await background.end(tasks)

    @asynccontextmanager
    async def tickets(self, queue: str) -> AsyncIterator["Tickets"]:
        """Take tickets of `queue` while the block runs. Waits for the first connection.

        At the end of the block, tickets that have arrived and were not taken are published again.
        """
        tickets = Tickets(self, self._nats, queue)
        try:
            async with self._subscribed(tickets.inbox, tickets.receive):
                yield tickets
        finally:
            await self.publish_tickets(queue, tickets.give_back())

    @asynccontextmanager
    async def _subscribed(
        self, subject: str, on_message: Callable[[Msg], Awaitable[None]], *, group: str = ""
    ) -> AsyncIterator[None]:
        """Subscribe while the block runs. When the block begins, the server knows of the subscription."""
        await asyncio.shield(self._connecting)
        subscription = await self._nats.subscribe(subject, queue=group, cb=on_message)
        try:
            await _round_trip(self._nats)
            yield
        finally:
            if self._nats.is_connected:
                await subscription.unsubscribe()


class Tickets:
    """Pulls the tickets of one queue by credit. Only one task may use it."""

    def __init__(self, bus: Bus, connection: Client, queue: str) -> None:
        self.inbox = connection.new_inbox()
        self._bus = bus
        self._nats = connection
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}"
        self._credit = 0
        self._epoch = bus.epoch
        self._received: list[UUID] = []
        self._arrived = asyncio.Event()
        self._last_message_at = time.monotonic()

    async def receive(self, message: Msg) -> None:
        """Callback of the NATS client, for every ticket and every status message of a pull request."""
        self._last_message_at = time.monotonic()
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
        silent_s = time.monotonic() - self._last_message_at
        if self._epoch != self._bus.epoch or silent_s > 3 * REQUEST_HEARTBEAT_S:
            self._epoch = self._bus.epoch
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
        except _DOWN:
            return
        self._credit += missing


@asynccontextmanager
async def connect(settings: BusSettings, name: str) -> AsyncIterator[Bus]:
    """Connect process `name` in the background, retrying without limit, and close after the block."""
    connection = Client()
    last_error = ""
    waits = delays(base_s=0.1, cap_s=2.0)

    def next_try(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
        return min(servers, key=lambda server: server.reconnects), next(waits)

    async def on_reconnect() -> None:
        nonlocal last_error, waits
        last_error = ""
        waits = delays(base_s=0.1, cap_s=2.0)
        bus.epoch += 1
        logger.info("bus.reconnected")

    async def on_disconnect() -> None:
        logger.warning("bus.disconnected")

    async def on_error(error: Exception) -> None:
        nonlocal last_error
        if str(error) != last_error:  # one log line per outage, not one per try
            last_error = str(error)
            logger.warning("bus.error", error=last_error or type(error).__name__)

    connecting = asyncio.create_task(
        connection.connect(
            settings.nats_url.get_secret_value(),
            name=f"argosy-{name}",
            inbox_prefix=inbox_of(name),
            flush_timeout=FLUSHED_WITHIN_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; it sleeps on a float as well
            reconnect_to_server_handler=next_try,
            reconnected_cb=on_reconnect,
            disconnected_cb=on_disconnect,
            error_cb=on_error,
        )
    )
    bus = Bus(connection, connecting)
    try:
        yield bus
    finally:
        if not connecting.done():
            await background.end([connecting])
        else:
            await _round_trip(connection)  # drain would wait 30 s for pull subscriptions
            with suppress(TimeoutError, RuntimeError):  # close writes to the server, which may be unreachable
                async with asyncio.timeout(REPLY_WITHIN_S):
                    await connection.close()


async def _request(
    connection: Client, subject: str, message: bytes = b"", *, within_s: float = REPLY_WITHIN_S
) -> Msg:
    """Send a request and return the reply. Raises one of `_DOWN`, such as TimeoutError or NoRespondersError.

    The timeout is our own, because that of nats-py 2.16 may lose a cancellation (see `background.end`). The flush
    of nats-py always loses one, so the flush must time out first (`FLUSHED_WITHIN_S`).
    """
    async with asyncio.timeout(within_s):
        return await connection.request(subject, message, timeout=None)  # type: ignore[arg-type]  # None is allowed


async def _round_trip(connection: Client) -> None:
    """Wait until the server has received everything sent so far.

    Returns early if the server is unreachable: the client renews its subscriptions when it reconnects. The request
    goes to a subject without subscribers, so the server itself replies. The flush of nats-py 2.16 will not do: it
    sends its ping ahead of what it should wait for, and stops reading if the pong arrives after its timeout.
    """
    with suppress(*_DOWN):
        if connection.is_connected:
            await _request(connection, connection.new_inbox())


def stream_of(queue: str) -> str:
    """The name of the stream of tickets of `queue`."""
    return f"TICKETS_{queue}"


def tickets_subject(queue: str) -> str:
    """The subject that the tickets of `queue` are published to."""
    return f"tickets.{queue}"


def inbox_of(name: str) -> str:
    """The prefix of the reply subjects of process `name`. No other process may subscribe there."""
    return f"_INBOX_{name}"

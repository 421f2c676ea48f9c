"""The conveyor: job tickets over NATS JetStream, from the ledger to whichever worker is free.

A ticket is the 16 bytes of a job id. The conveyor is allowed to lose any of them: the ledger knows which
jobs have a ticket out, and the dispatcher publishes a lost one again. So the stream lives in memory, tickets
are published without waiting for an acknowledgement, and a ticket leaves the stream when it is handed over.

Workers pull by credit: a standing request for as many tickets as there are free slots, so a ticket reaches
a waiting worker without a round trip. The traps of pull requests are met here: one that died with its
server is noticed by missing heartbeats, every request expires, and nothing is drained on the way out.
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
"""Tickets older than this fall off the conveyor, to be published again if their jobs still wait."""
REQUEST_EXPIRES_S = 30.0
REQUEST_HEARTBEAT_S = 2.0
ANSWER_WITHIN_S = 2.0
FLUSHED_WITHIN_S = 0.5
"""How long the client waits, with too much unsent, before it sends what comes next."""
CONSUMER = "workers"
ANSWERERS = "answerers"
"""The queue group of those who answer: one of them gets each question."""
YIELD_EVERY = 250
"""Tickets published before others on this event loop have their turn: a few milliseconds."""

logger = log.get("bus")

_DOWN = (nats.errors.Error, APIError, NoStreamResponseError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class StreamState:
    """A queue's stretch of the conveyor at one moment."""

    depth: int
    """Tickets that no worker has taken yet."""
    taken: int
    """Tickets taken since the stream was made."""
    oldest: datetime | None
    """When the oldest of them was put there, on the bus's clock; None if there is none."""


class Bus:
    """A connection to NATS that reconnects for ever."""

    def __init__(self, connection: Client, connecting: asyncio.Task[None]) -> None:
        self._nats = connection
        self._connecting = connecting
        self.epoch = 0
        """Counts reconnects: whatever the server was doing for us before the last one, it has forgotten."""

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return bool(self._nats.is_connected)

    async def create_stream(self, queue: str) -> None:
        """Make the stream and the consumer of `queue` if they are not there. Raises Unavailable."""
        jetstream = self._nats.jetstream(timeout=ANSWER_WITHIN_S)
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
        """Put tickets on the conveyor without waiting. False: no connection, so they are as good as lost."""
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
        """How the stream of `queue` stands. Creates it anew if it is gone. Raises Unavailable."""
        try:
            # nats-py's own StreamState leaves out first_ts.
            reply = await _asked(self._nats, f"$JS.API.STREAM.INFO.{stream_of(queue)}")
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
        """Send `message` to whoever listens now. Nobody is told if it is lost."""
        if self._nats.is_connected:
            with suppress(*_DOWN):
                await self._nats.publish(subject, message)

    @asynccontextmanager
    async def listening(self, subject: str, hear: Callable[[bytes], None]) -> AsyncIterator[None]:
        """Call `hear` with every message on `subject` while the block runs. Waits for the first connection."""

        async def on_message(message: Msg) -> None:
            try:
                hear(message.data)
            except ValueError as error:  # a stranger's
                logger.warning("bus.unreadable", subject=message.subject, error=str(error))

        async with self._subscribed(subject, on_message):
            yield

    async def request(self, subject: str, question: bytes, *, within_s: float) -> bytes:
        """The answer of one of those who answer on `subject`. Raises Unavailable, TimeoutError."""
        try:
            reply = await _asked(self._nats, subject, question, within_s=within_s)
        except TimeoutError as error:
            raise TimeoutError(f"No answer on {subject} within {within_s:g} s.") from error
        except nats.errors.NoRespondersError as error:
            raise Unavailable(f"Nobody answers on {subject}.") from error
        except _DOWN as error:
            raise Unavailable(f"NATS: {message_of(error)}") from error
        return bytes(reply.data)

    @asynccontextmanager
    async def serving(self, subject: str, answer: Callable[[str, bytes], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Answer what is asked on `subject` (which may end in `.*`) while the block runs; one of many answers.

        `answer` gets the subject and the question. Waits for the first connection.
        """

        async def respond(message: Msg) -> None:
            reply = await answer(message.subject, message.data)
            with suppress(*_DOWN):
                await message.respond(reply)

        async def on_message(message: Msg) -> None:
            task = asyncio.create_task(respond(message))  # one slow question must not hold up the next
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        tasks: set[asyncio.Task[None]] = set()
        try:
            async with self._subscribed(subject, on_message, group=ANSWERERS):
                yield
        finally:
            await background.end(tasks)

    @asynccontextmanager
    async def tickets(self, queue: str) -> AsyncIterator["Tickets"]:
        """Take tickets off the conveyor of `queue` while the block runs. Waits for the first connection."""
        taking = Tickets(self, self._nats, queue)
        try:
            async with self._subscribed(taking.inbox, taking.receive):
                yield taking
        finally:
            await self.publish_tickets(queue, taking.give_back())

    @asynccontextmanager
    async def _subscribed(
        self, subject: str, hear: Callable[[Msg], Awaitable[None]], *, group: str = ""
    ) -> AsyncIterator[None]:
        """While the block runs; from its first line on nothing is missed that others send."""
        await asyncio.shield(self._connecting)
        subscription = await self._nats.subscribe(subject, queue=group, cb=hear)
        try:
            await _arrived(self._nats)
            yield
        finally:
            if self._nats.is_connected:
                await subscription.unsubscribe()


class Tickets:
    """Tickets of one queue, pulled by credit. For one task only."""

    def __init__(self, bus: Bus, connection: Client, queue: str) -> None:
        self.inbox = connection.new_inbox()
        self._bus = bus
        self._nats = connection
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(queue)}.{CONSUMER}"
        self._credit = 0
        self._epoch = bus.epoch
        self._taken: list[UUID] = []
        self._arrived = asyncio.Event()
        self._heard_at = time.monotonic()

    async def receive(self, message: Msg) -> None:
        """Called by the client for every ticket and every status of a pull request."""
        self._heard_at = time.monotonic()
        if message.headers is None:
            self._credit -= 1
            self._taken.append(UUID(bytes=message.data))
        else:
            status = message.headers.get("Status")
            if status == "100":
                return
            if status != "408":  # no such consumer, or it went away: ask anew when `take` comes round
                self._credit = 0
                return
            self._credit = max(0, self._credit - int(message.headers.get("Nats-Pending-Messages", "0")))
        self._arrived.set()

    async def take(self, room: int, *, ahead: int = 0, wait_s: float) -> list[UUID]:
        """Tickets for at most `room` jobs, as soon as there is one; an empty list after `wait_s` seconds.

        `ahead`: how many more to have sent, so that the next call need not wait for them.
        """
        await self._ask_for(room + ahead - len(self._taken))
        if not self._taken:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken, self._taken = self._taken[:room], self._taken[room:]
        return taken

    def give_back(self) -> list[UUID]:
        """The tickets that have come and were not taken."""
        left, self._taken = self._taken, []
        return left

    async def _ask_for(self, wanted: int) -> None:
        """Raise the credit with the server to `wanted` tickets."""
        silent_s = time.monotonic() - self._heard_at
        if self._epoch != self._bus.epoch or silent_s > 3 * REQUEST_HEARTBEAT_S:
            self._epoch = self._bus.epoch
            self._heard_at = time.monotonic()
            self._credit = 0
        missing = wanted - self._credit
        if missing <= 0 or not self._nats.is_connected:
            return
        if self._credit == 0:
            self._heard_at = time.monotonic()
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
    """Connect process `name`, in the background and for ever, and close after the block."""
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
        if str(error) != last_error:  # one line for an outage, not one a try
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
            await _arrived(connection)  # drain would wait 30 s for pull subscriptions
            with suppress(TimeoutError, RuntimeError):  # it writes to a server that is away
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await connection.close()


async def _asked(
    connection: Client, subject: str, question: bytes = b"", *, within_s: float = ANSWER_WITHIN_S
) -> Msg:
    """The answer. Raises one of `_DOWN`: TimeoutError, NoRespondersError if nobody listens there.

    The timeout is ours, because nats-py 2.16's may lose a cancellation (see `background.end`). Its flush loses one
    for certain, so it must be over before (`FLUSHED_WITHIN_S`).
    """
    async with asyncio.timeout(within_s):
        return await connection.request(subject, question, timeout=None)  # type: ignore[arg-type]  # it may be


async def _arrived(connection: Client) -> None:
    """Until the server has all that was sent, or is away: whoever subscribed does so anew when it is back.

    It is asked where nobody listens, and says so. A flush of nats-py 2.16 sends its ping ahead of what it should
    wait for, and ends the connection's reading if the answer comes after its timeout.
    """
    with suppress(*_DOWN):
        if connection.is_connected:
            await _asked(connection, connection.new_inbox())


def stream_of(queue: str) -> str:
    """The stream that the tickets of `queue` are in."""
    return f"TICKETS_{queue}"


def tickets_subject(queue: str) -> str:
    """What the tickets of `queue` are sent to."""
    return f"tickets.{queue}"


def inbox_of(name: str) -> str:
    """What answers to process `name` begin with: nobody else may listen there."""
    return f"_INBOX_{name}"

"""What processes say to each other over NATS: tickets, messages to all, and requests.

A ticket is the 16 bytes of a job id. The conveyor may lose any ticket: the ledger records which jobs have a
ticket out, and the dispatcher publishes a lost ticket again. So the stream is kept in memory, tickets are
published without waiting for an acknowledgement, and a ticket leaves the stream when it is delivered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import nats.errors
from nats.aio.msg import Msg

from libs.common import background, log, metrics
from libs.common.bus.connection import DOWN, REPLY_WITHIN_S, Connection
from libs.common.bus.names import tickets_subject
from libs.common.bus.streams import Streams, StreamState
from libs.common.bus.tickets import Tickets
from libs.common.config import BusSettings
from libs.common.errors import Unavailable, message_of

RPC_GROUP = "answerers"
"""The queue group of the processes that serve requests: each request is delivered to one of them."""
YIELD_EVERY = 250
"""Tickets published between two yields to the event loop: a few milliseconds of work."""

logger = log.get("bus")


class Bus:
    """A connection to NATS that reconnects without limit."""

    def __init__(self, connection: Connection, connecting: asyncio.Task[None], *, replicas: int) -> None:
        self._nats = connection
        self._connecting = connecting
        self._streams = Streams(connection, replicas)

    @property
    def epoch(self) -> int:
        """Counts reconnects."""
        return self._nats.epoch

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return bool(self._nats.is_connected)

    async def create_stream(self, queue: str) -> None:
        """Create the stream and the consumer of `queue` if they do not exist. Raises StreamUnavailable."""
        await self._streams.create(queue)

    async def stream_state(self, queue: str) -> StreamState:
        """The state of the stream of `queue`. Creates what is not there. Raises StreamUnavailable."""
        return await self._streams.state(queue)

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
        except DOWN:
            return False
        return True

    async def publish(self, subject: str, message: bytes) -> None:
        """Send `message` to the current subscribers of `subject`. A loss is not reported."""
        if self._nats.is_connected:
            with suppress(*DOWN):
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
            reply = await self._nats.ask(subject, message, within_s=within_s)
        except TimeoutError as error:
            raise TimeoutError(f"No reply on {subject} within {within_s:g} s.") from error
        except nats.errors.NoRespondersError as error:
            raise Unavailable(f"No process serves {subject}.") from error
        except DOWN as error:
            raise Unavailable(f"NATS: {message_of(error)}", server="NATS") from error
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
            with suppress(*DOWN):
                await message.respond(reply)

        async def on_message(message: Msg) -> None:
            tasks.start(respond(message))  # a slow request must not delay the next one

        tasks = background.Tasks()
        try:
            async with self._subscribed(subject, on_message, group=RPC_GROUP):
                yield
        finally:
            await tasks.end()

    @asynccontextmanager
    async def tickets(self, queue: str) -> AsyncIterator[Tickets]:
        """Take tickets of `queue` while the block runs. Waits for the first connection.

        At the end of the block, tickets that have arrived and were not taken are published again.
        """
        tickets = Tickets(self._nats, queue)
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
        await self._nats.established.wait()
        subscription = await self._nats.subscribe(subject, queue=group, cb=on_message)
        try:
            await self._nats.round_trip()
            yield
        finally:
            if self._nats.is_connected:
                await subscription.unsubscribe()


@asynccontextmanager
async def connect(settings: BusSettings, name: str) -> AsyncIterator[Bus]:
    """Connect process `name` in the background, retrying without limit, and close after the block.

    If a server refuses the login before there was any connection, the block is cancelled and Misconfigured raised.
    """
    connection = Connection()
    connecting = asyncio.create_task(connection.open(settings, name))
    try:
        async with background.ended_by_failure_of(connecting):
            bus = Bus(connection, connecting, replicas=settings.nats_replicas)
            metrics.dependency_up.labels("nats").set_function(lambda: bus.connected)
            yield bus
    finally:
        if connection.established.is_set():
            await connection.round_trip()  # drain would wait 30 s for pull subscriptions
            with suppress(TimeoutError, RuntimeError):  # close writes to the server, which may be unreachable
                async with asyncio.timeout(REPLY_WITHIN_S):
                    await connection.close()
        await background.end([connecting])
        connection.abort()

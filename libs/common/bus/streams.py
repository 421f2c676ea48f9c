"""The stream of tickets of each queue in JetStream: made and looked at.

A stream may have been made beforehand, with or without its consumer. It is then taken as it is.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from libs.common import log
from libs.common.bus.connection import DOWN, Connection
from libs.common.bus.names import CONSUMER, stream_of, tickets_subject
from libs.common.errors import Unavailable, message_of

TICKET_LIFE_S = 600.0
"""Older tickets are dropped from the stream. They are published again if their jobs still wait."""
STREAM_NOT_FOUND, STREAM_EXISTS, CONSUMER_EXISTS = 10059, 10058, 10148
TOO_MANY_REPLICAS = (10005, 10074)
"""The cluster has too few servers; the server is in no cluster. These are codes of the server's errors.json:
https://github.com/nats-io/nats-server/blob/main/server/errors.json"""

logger = log.get("bus")


class StreamUnavailable(Unavailable):
    """JetStream does not answer for this stream, or refuses."""

    def __init__(self, message: str | None = None, *, err_code: int = 0) -> None:
        super().__init__(message, server="NATS")
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of a queue's stream at one moment."""

    depth: int
    """Tickets that no worker has taken yet."""
    taken: int
    """Tickets taken since the stream was created."""
    oldest_age_s: float | None
    """Seconds since the oldest ticket in the stream was published; None if there is none."""


class Streams:
    """The streams of tickets, each with `replicas` copies, or as many as the cluster can hold."""

    def __init__(self, connection: Connection, replicas: int) -> None:
        self._connection = connection
        self._replicas = replicas
        self._made: dict[str, int] = {}
        """The epoch in which this process last made sure that a queue's stream and consumer exist."""

    async def create(self, queue: str) -> None:
        """Create the stream and the consumer of `queue` if they do not exist. Raises StreamUnavailable."""
        epoch = self._connection.epoch
        await self._create_stream(queue)
        consumer = {"durable_name": CONSUMER, "ack_policy": "none"}
        await self._create(
            f"CONSUMER.DURABLE.CREATE.{stream_of(queue)}.{CONSUMER}",
            {"stream_name": stream_of(queue), "config": consumer, "action": "create"},
        )
        self._made[queue] = epoch

    async def state(self, queue: str) -> StreamState:
        """The state of the stream of `queue`. Creates what is not there. Raises StreamUnavailable."""
        if self._made.get(queue) != self._connection.epoch:  # another server may lack it, or its consumer
            await self.create(queue)
        try:
            reply = await self._call(f"STREAM.INFO.{stream_of(queue)}")
        except StreamUnavailable as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            reply = {"state": {}}
        state: dict[str, Any] = reply["state"]
        if not state.get("consumer_count"):
            await self.create(queue)
            return StreamState(depth=0, taken=0, oldest_age_s=None)
        depth = state["messages"]
        age_s = _seconds_between(state["first_ts"], reply.get("ts")) if depth else None
        return StreamState(depth=depth, taken=state["last_seq"] - depth, oldest_age_s=age_s)

    async def _create_stream(self, queue: str) -> None:
        """Create the stream with as many replicas as wanted, or fewer if the servers cannot hold them."""
        stream = {
            "name": stream_of(queue),
            "subjects": [tickets_subject(queue)],
            "retention": "interest",
            "storage": "memory",
            "max_age": int(TICKET_LIFE_S * 1e9),
        }
        for replicas in range(self._replicas, 0, -1):
            try:
                await self._create(f"STREAM.CREATE.{stream_of(queue)}", stream | {"num_replicas": replicas})
            except StreamUnavailable as error:
                if error.err_code not in TOO_MANY_REPLICAS or replicas == 1:
                    raise
                logger.warning("bus.fewer_replicas", stream=stream_of(queue), error=str(error))
            else:
                return

    async def _create(self, api: str, request: object) -> None:
        """Create a stream or a consumer. One that exists is taken as it is."""
        try:
            await self._call(api, request)
        except StreamUnavailable as error:
            if error.err_code not in (STREAM_EXISTS, CONSUMER_EXISTS):
                raise

    async def _call(self, api: str, request: object = None) -> dict[str, Any]:
        """The answer of JetStream. Raises StreamUnavailable."""
        if not self._connection.is_connected:
            raise StreamUnavailable("NATS: not connected.")
        try:
            reply = await self._connection.ask(f"$JS.API.{api}", orjson.dumps(request) if request else b"")
        except TimeoutError as error:
            await self._connection.note_unanswered()
            raise StreamUnavailable(f"NATS: no answer to {api}.") from error
        except DOWN as error:
            raise StreamUnavailable(f"NATS: {message_of(error)}") from error
        self._connection.note_answered()
        answer: dict[str, Any] = orjson.loads(reply.data)
        if refusal := answer.get("error"):
            raise StreamUnavailable(f"NATS: {refusal.get('description')}", err_code=refusal.get("err_code", 0))
        return answer


def _seconds_between(earlier: str, later: str | None) -> float:
    """Seconds between two times of the server; servers before 2.10 do not tell theirs, so ours must do."""
    now = datetime.fromisoformat(later) if later is not None else datetime.now(UTC)
    return (now - datetime.fromisoformat(earlier)).total_seconds()

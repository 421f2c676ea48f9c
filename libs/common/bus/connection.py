"""One connection to the NATS servers: found again when it is lost, and left when it is silent.

nats-py 2.16 leaves a process without NATS in cases that this module mends: a silent network, an error that the
server sends before it closes, and servers of a cluster that were not in the list.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from libs.common import log
from libs.common.backoff import delays
from libs.common.bus.names import inbox_of
from libs.common.config import BusSettings
from libs.common.errors import Misconfigured

PING_EVERY_S = 4
UNANSWERED_PINGS = 2
"""A silent connection is left at the ping after so many unanswered ones: 8 to 12 s after it fell silent. Another
server is then found within 15 s, although one that is silent too takes the 2 s of a connection's timeout."""
UNANSWERED_REQUESTS = 3
"""After so many requests to JetStream in a row without an answer, the next server is tried."""
UNANSWERED_AT_MOST = 48
"""That number doubles up to this one while no server answers."""
REPLY_WITHIN_S = 2.0
FLUSHED_WITHIN_S = 0.5
"""How long a publish waits for the client to send its buffer when too much is unsent."""

DOWN = (nats.errors.Error, OSError, TimeoutError)
"""The errors of the client when a server cannot be reached, or does not answer."""

logger = log.get("bus")


class Connection(Client):
    """The client of nats-py that goes on where nats-py would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        """Counts reconnects. After each one, the server has forgotten the pull requests made before it."""
        self.established = asyncio.Event()
        """Set after the first connection."""
        self._told = ""
        self._tries: Counter[str] = Counter()
        self._waits = _waits()
        self._unanswered = 0
        self._patience = UNANSWERED_REQUESTS

    async def open(self, settings: BusSettings, name: str) -> None:
        """Connect process `name`, retrying without limit. Raises Misconfigured if a server refuses its login."""
        addresses = settings.nats_addresses
        login = {} if addresses.user is None else {"user": addresses.user, "password": addresses.password}
        await self.connect(
            addresses.servers,
            **login,  # type: ignore[arg-type]  # for all servers, including those that a cluster tells of
            token=addresses.token,
            name=f"argosy-{name}",
            inbox_prefix=inbox_of(name),
            ping_interval=PING_EVERY_S,
            max_outstanding_pings=UNANSWERED_PINGS,
            flush_timeout=FLUSHED_WITHIN_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; it sleeps on a float as well
            reconnect_to_server_handler=self._next_try,
            reconnected_cb=self._on_reconnect,
            disconnected_cb=self._on_disconnect,
            error_cb=self._on_error,
        )
        if "cluster" in self._server_info and settings.nats_replicas == 1:
            logger.warning("bus.one_replica", why="NATS_REPLICAS is 1: if a stream's server dies, its queue stops")
        self.established.set()

    async def ask(self, subject: str, message: bytes = b"", *, within_s: float = REPLY_WITHIN_S) -> Msg:
        """Send a request and return the reply. Raises one of `DOWN`, such as TimeoutError or NoRespondersError.

        The timeout is our own, because that of nats-py may lose a cancellation (see `background.end`). The flush
        of nats-py always loses one, so the flush must time out first (`FLUSHED_WITHIN_S`).
        """
        async with asyncio.timeout(within_s):
            return await self.request(subject, message, timeout=None)  # type: ignore[arg-type]  # None is allowed

    async def round_trip(self) -> None:
        """Wait until the server has received everything sent so far.

        Returns early if the server is unreachable: the client renews its subscriptions when it reconnects. The
        request goes to a subject without subscribers, so the server itself replies. The flush of nats-py will not
        do: it sends its ping ahead of what it should wait for, and stops reading if the pong arrives after its
        timeout.
        """
        with suppress(*DOWN):
            if self.is_connected:
                await self.ask(self.new_inbox())

    def note_answered(self) -> None:
        """JetStream has answered a request."""
        self._unanswered, self._patience = 0, UNANSWERED_REQUESTS

    async def note_unanswered(self) -> None:
        """JetStream has not answered a request: if that happens too often in a row, turn to another server.

        A server may answer pings although it is cut off from the others, or although its JetStream is stuck.
        """
        self._unanswered += 1
        if self._unanswered >= self._patience and self.is_connected:
            logger.warning("bus.unanswered", requests=self._unanswered)
            self._unanswered, self._patience = 0, min(UNANSWERED_AT_MOST, 2 * self._patience)
            await self.force_reconnect()

    def abort(self) -> None:
        """Close the socket at once, and drop what is unsent."""
        if isinstance(self._transport, TcpTransport) and self._transport:
            self._transport._io_writer.transport.abort()  # type: ignore[union-attr]  # there, as bool() has said

    def _next_try(self, servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
        """The server tried least in this outage, rather another one than the one just left; seconds to wait."""
        left = self._current_server.uri.netloc if self._current_server is not None else ""
        chosen = min(servers, key=lambda server: (self._tries[server.uri.netloc], server.uri.netloc == left))
        self._tries[chosen.uri.netloc] += 1
        return chosen, next(self._waits)

    async def _on_reconnect(self) -> None:
        self._told, self._waits = "", _waits()
        self._tries.clear()
        self.epoch += 1
        logger.info("bus.reconnected", server=_place_of(self))

    async def _on_disconnect(self) -> None:
        logger.warning("bus.disconnected")

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if not self.established.is_set() and "authorization violation" in text.lower():
            raise Misconfigured(f"NATS_URL: {_place_of(self)} refuses the user and password.")
        if text != self._told:  # one log line per outage, not one per try
            self._told = text
            logger.warning("bus.error", error=text)

    async def _attempt_reconnect(self) -> None:
        """Reconnect, but drop what is unsent: nats-py would wait for minutes until a silent network takes it."""
        self.abort()
        await super()._attempt_reconnect()

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect after an error for which the server closes the connection. nats-py would close for good."""
        if "permissions violation" in err_msg:  # this connection stays
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._on_error(error)
        await self._process_op_err(error)


def _waits() -> Iterator[float]:
    return delays(base_s=0.1, cap_s=2.0)


def _place_of(connection: Connection) -> str:
    server = connection._current_server
    return f"{server.uri.hostname}:{server.uri.port}" if server is not None else "an unknown place"

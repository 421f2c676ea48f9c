"""The pool of connections to SMTP relays: shared, used again, and held back where a relay refuses."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from libs.common import background, log, metrics, tracing
from libs.common.errors import ArgosyError
from services.mailer.smtp.connection_slots import ConnectionSlots
from services.mailer.smtp.dialogue import SERVICE_CLOSING, Dialogue, Envelope, Phase, Reply
from services.mailer.smtp.holds import BRIEF, LONG, Hold
from services.mailer.smtp.opening import NotOpened, RelayUrl, open_dialogue
from services.mailer.smtp.verdict import About, about

MESSAGES_PER_CONNECTION = 100
"""After this many a new connection is opened: relays count messages, and some begin to refuse them."""
MESSAGES_PER_LEASE = 25
"""After this many a connection goes back to the pool, so that another job can have it."""
IDLE_AT_MOST_S = 25.0
"""Connections idle for longer are closed. Some relays close them after 30 s, so sending would fail, and all count
them against the number that a client may have."""
SWEEP_S = 1.0
"""How often idle connections are looked at."""

logger = log.get("smtp")


class Unreachable(ArgosyError):
    """No relay takes mail now. `after_s`: seconds to wait before another try; `reply`: why."""

    def __init__(self, relay: str, reply: Reply, after_s: float) -> None:
        super().__init__(f"{relay}: {reply.text}")
        self.reply = reply
        self.after_s = after_s


class Connection:
    """An open connection to `relay`. It sends one message at a time."""

    def __init__(self, relay: "Relay", dialogue: Dialogue) -> None:
        self.relay = relay
        self._dialogue = dialogue
        self._sent = 0
        self._used_at = time.monotonic()

    @property
    def reusable(self) -> bool:
        """Whether another message can be sent over this connection now."""
        is_fresh = time.monotonic() - self._used_at < IDLE_AT_MOST_S
        return self._dialogue.is_open and self._sent < MESSAGES_PER_CONNECTION and is_fresh

    async def send(self, envelope: Envelope, before_end: Callable[[], Awaitable[None]]) -> Reply:
        """Send a message. See Dialogue.send."""
        self._sent += 1
        with tracing.child("smtp transaction", tracing.Kind.CLIENT, relay=self.relay.name) as span:
            reply = await self._dialogue.send(envelope, before_end)
            span.set(step=reply.phase.value, code=reply.code)
        metrics.smtp_replies.labels(self.relay.name, f"{reply.code // 100}xx" if reply.code else "none").inc()
        self._used_at = time.monotonic()
        self.relay.heard(reply, is_first=self._sent == 1)
        return reply

    async def close(self) -> None:
        """Send QUIT if the connection is idle, and close it."""
        await self._dialogue.quit()


class Relay:
    """One relay, with a pool of at most `connections` connections to it. Raises ValueError for a wrong URL."""

    def __init__(self, url: str, *, connections: int, timeout_s: float, helo: str | None) -> None:
        self._url = RelayUrl.parse(url)
        self.name = self._url.name
        self._timeout_s = timeout_s
        self._helo = helo
        self._slots = ConnectionSlots(connections, self._is_next_served)
        metrics.show_from_the_start(metrics.smtp_replies, relay=[self.name], code=("2xx", "4xx", "5xx", "none"))
        steps = [phase.value for phase in Phase]
        metrics.show_from_the_start(metrics.mail_relay_refusals, relay=[self.name], step=steps, code=["none"])
        for state in ("established", "leased"):
            metrics.smtp_connections.labels(self.name, state).set_function(
                lambda state=state: getattr(self._slots, state)  # type: ignore[misc]
            )
        self._idle: list[Connection] = []
        self._opening, self._sending = Hold(), Hold()
        """The first holds back new connections, the second everything."""

    @property
    def is_held(self) -> bool:
        """Whether it takes no mail now, over open connections either."""
        return self._sending.is_on

    @property
    def held_s(self) -> float:
        """Seconds until it may take mail again. 0 or less: it may now."""
        held = self._held_by()
        return 0.0 if held is None else held.left_s

    async def acquire(self) -> Connection:
        """Wait for a free connection. The caller must release it. Raises Unreachable."""
        while True:
            await self._slots.enter()
            try:
                connection = await self._reuse_or_open()
            except BaseException:
                self._slots.leave()
                raise
            if connection is not None:
                return connection
            self._slots.leave()

    async def release(self, connection: Connection) -> None:
        """Return a connection to the pool, or close it if it cannot be reused."""
        if connection.reusable:
            self._idle.append(connection)
            self._slots.leave()
        else:
            self._slots.begin_close()
            self._slots.leave()
            await self._end_close(connection)

    async def close(self) -> None:
        """Close all idle connections."""
        await self._close(self._idle)

    async def sweep(self) -> None:
        """Close the idle connections that cannot be used again, and serve those for whom time has made room."""
        self._slots.check()
        await self._close([connection for connection in self._idle if not connection.reusable])

    def heard(self, reply: Reply, *, is_first: bool) -> None:
        """Learn from the reply to a message, whether it was the first of its connection or not."""
        subject = about(reply)
        if subject is not About.DELIVERY:
            self._count(reply)
        if subject is About.RELAY:
            if reply.code != SERVICE_CLOSING or is_first:  # else only this connection has had enough
                self._hold(self._sending, reply, is_final=reply.code is not None and reply.code >= 500)
        elif reply.code is not None and reply.phase not in (Phase.LOCAL, Phase.MAIL) and not self.is_held:
            self._sending.end()
        self._slots.check()

    def _held_by(self) -> Hold | None:
        """Return what keeps everybody from sending, None if nothing does."""
        if self._sending.is_on:
            return self._sending
        return self._opening if self._opening.is_on and not self._slots.established else None

    def _is_next_served(self) -> bool:
        """Whether there is a connection for one more sender, or the news that there is none."""
        if self._held_by() is not None:
            return True
        if self._sending.is_on_trial and self._slots.leased:  # one message shows whether it takes mail again
            return False
        return self._slots.has_idle or (self._slots.may_open and not self._opening.is_on)

    async def _reuse_or_open(self) -> Connection | None:
        """Return a connection, None if one must wait for those of others. Raises Unreachable."""
        held = self._held_by()
        if held is not None and held.reply is not None:
            raise Unreachable(self.name, held.reply, held.left_s)
        await self._close([connection for connection in self._idle if not connection.reusable])
        if self._idle:
            return self._idle.pop()
        if self._opening.is_on:
            return None
        return await self._open()

    async def _open(self) -> Connection | None:
        try:
            dialogue = await open_dialogue(self._url, self._helo, self._timeout_s)
        except NotOpened as failure:
            self._count(failure.reply)
            logger.info("relay.not_opened", relay=self.name, error=str(failure.__cause__))
            has_others = self._slots.established > 0
            if has_others:
                self._slots.refused()
            if failure.is_final or not has_others:
                self._slots.unreachable()
                self._hold(self._opening, failure.reply, is_final=failure.is_final)
            if has_others:
                return None
            raise Unreachable(self.name, failure.reply, max(self._opening.left_s, 0.1)) from failure
        self._opening.end()
        self._slots.opened()
        return Connection(self, dialogue)

    def _hold(self, hold: Hold, reply: Reply, *, is_final: bool) -> None:
        if hold.begin(LONG if is_final else BRIEF, reply):
            logger.warning(
                "relay.held", relay=self.name, step=reply.phase, code=reply.code, reply=reply.text,
                for_s=round(hold.left_s),
            )  # fmt: skip

    def _count(self, reply: Reply) -> None:
        is_code = reply.code is not None and 400 <= reply.code < 600
        code = str(reply.code) if is_code else "none"
        metrics.mail_relay_refusals.labels(self.name, reply.phase.value, code).inc()

    async def _close(self, connections: Sequence[Connection]) -> None:
        for _connection in connections:
            self._slots.begin_close()
        self._idle = [connection for connection in self._idle if connection not in connections]
        await asyncio.gather(*map(self._end_close, connections))

    async def _end_close(self, connection: Connection) -> None:
        try:
            await connection.close()
        finally:
            self._slots.end_close()


class Relays:
    """All relays, in order of preference. `helo`: our name in EHLO, None for the host's."""

    def __init__(
        self, urls: Sequence[str], *, connections: int, timeout_s: float, helo: str | None = None
    ) -> None:
        self._relays = [Relay(url, connections=connections, timeout_s=timeout_s, helo=helo) for url in urls]
        if not self._relays:
            raise ValueError("MAIL_RELAYS names no relay")

    @property
    def held_s(self) -> float:
        """Seconds until one of them may take mail again. 0 or less: one may now."""
        return min(relay.held_s for relay in self._relays)

    async def acquire(self) -> tuple[Relay, Connection]:
        """Get a connection to the first relay that can be reached. Raises Unreachable."""
        failures: list[Unreachable] = []
        for relay in self._relays:
            try:
                return relay, await relay.acquire()
            except Unreachable as failure:
                failures.append(failure)
        raise min(failures, key=lambda failure: failure.after_s)

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Look after idle connections while the block runs. At its end, close them."""
        try:
            async with background.alongside(background.optional(self._sweep_regularly())):
                yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Close all idle connections."""
        for relay in self._relays:
            await relay.close()

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for relay in self._relays:
                await relay.sweep()


class ConnectionLease:
    """The connection that one sender holds. It is reused for up to MESSAGES_PER_LEASE messages, then exchanged."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self._held: tuple[Relay, Connection] | None = None
        self._used = 0

    @property
    def is_held(self) -> bool:
        """Whether a connection is held."""
        return self._held is not None

    async def connection(self) -> Connection:
        """Return the connection for the next message. Raises Unreachable."""
        if self._held is not None:
            relay, connection = self._held
            if connection.reusable and self._used < MESSAGES_PER_LEASE and not relay.is_held:
                self._used += 1
                return connection
            await self.release()
        self._held = await self._relays.acquire()
        self._used = 1
        return self._held[1]

    async def release(self) -> None:
        """Return the connection to the pool, so that others can have it."""
        if self._held is not None:
            (relay, connection), self._held = self._held, None
            await relay.release(connection)

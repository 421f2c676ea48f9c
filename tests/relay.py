"""An SMTP server that does what a test wants at each step, and remembers what it took. aiosmtpd speaks for it."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

Step = str
"""CONNECT, MAIL, RCPT, DATA, BODY, END (all is there, not answered), OVER (answered)."""


@dataclass
class Delivery:
    """A message that was taken. `at`: on the monotonic clock, when it was there."""

    sender: str
    recipient: str
    content: bytes
    at: float

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)


@dataclass
class Relay:
    """Its port, what it took, and what it does: by the local part of the recipient.

    `450-…`, `550-…`, `421-…` are answered to RCPT with that code; `450end-…` and `550end-…` after the data;
    `hang-…` never; `dropdata-…` is hung up on instead of being asked for the data, `drop-…` within it, `dropend-…`
    after it was taken.
    """

    port: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    kind_at: float = float("inf")
    """From then on (monotonic clock) it takes everything."""
    at: Callable[[Step, str], None] = lambda _step, _recipient: None
    """Called at every step, with the recipient as far as it is known."""

    def counts(self) -> Counter[str]:
        return Counter(delivery.recipient for delivery in self.deliveries)

    def what_for(self, recipient: str) -> str:
        found = re.match(r"(450end|550end|450|550|421|hang|dropend|dropdata|drop)-", recipient)
        return found[1] if found and time.monotonic() < self.kind_at else ""


class _Server(SMTP):
    """One connection."""

    relay: Relay
    receiving = ""

    def data_received(self, data: bytes) -> None:
        if self.receiving and data != b".\r\n":
            self.relay.at("BODY", self.receiving)
            self.receiving = ""
        super().data_received(data)

    def connection_made(self, transport: Any) -> None:
        self.relay.connections += 1
        self.relay.at("CONNECT", "")
        super().connection_made(transport)

    async def smtp_DATA(self, arg: str) -> None:
        assert self.envelope is not None
        recipient = self.envelope.rcpt_tos[0] if self.envelope.rcpt_tos else ""
        self.relay.at("DATA", recipient)
        if self.relay.what_for(recipient) == "dropdata":
            _hang_up(self)
            return
        if self.relay.what_for(recipient) == "drop":
            await self.push("354 go on")
            await self._reader.readline()
            _hang_up(self)
            return
        self.receiving = recipient
        await super().smtp_DATA(arg)
        self.relay.at("OVER", recipient)


class _Handler:
    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    async def handle_MAIL(self, _server: SMTP, _session: Session, envelope: Envelope, address: str,
                          options: list[str]) -> str:  # fmt: skip
        self.relay.at("MAIL", "")
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 fine"

    async def handle_RCPT(self, server: SMTP, _session: Session, envelope: Envelope, address: str,
                          _options: list[str]) -> str:  # fmt: skip
        self.relay.tries[address] += 1
        self.relay.at("RCPT", address)
        what = self.relay.what_for(address)
        if what == "hang":
            await asyncio.Event().wait()
        if what in ("450", "550"):
            return f"{what} {what[0]}.2.1 not this one"
        if what == "421":
            await server.push("421 4.3.2 going down")
            assert server.transport is not None
            server.transport.close()
            return "421 4.3.2 going down"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        recipient = envelope.rcpt_tos[0]
        what = self.relay.what_for(recipient)
        if what in ("450end", "550end"):
            return f"{what[:3]} {what[0]}.7.1 not this text"
        content = envelope.original_content or b""
        self.relay.deliveries.append(Delivery(envelope.mail_from or "", recipient, content, time.monotonic()))
        self.relay.at("END", recipient)
        if what == "dropend":
            _hang_up(server)
        return "250 2.0.0 taken"


def _hang_up(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()


@asynccontextmanager
async def relaying(relay: Relay, *, port: int = 0, **options: Any) -> AsyncIterator[Relay]:
    """`relay` serves while the block runs."""
    kind = type("_Connection", (_Server,), {"relay": relay})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: kind(_Handler(relay), loop=loop, enable_SMTPUTF8=True, hostname="relay.test", **options),
        "127.0.0.1",
        port,
    )
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()

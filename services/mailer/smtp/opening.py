"""Opens a connection to a relay: greeting, name, TLS and login. The only module that imports aiosmtplib."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from typing import cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPConnectResponseError,
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from services.mailer.smtp.dialogue import Dialogue, Phase, Reply, SmtpWire

EXTENSIONS = ("pipelining", "size", "smtputf8")
BAD_CREDENTIALS = 535


class NotOpened(Exception):
    """No connection could be opened. `reply`: what the relay said, and at which step.

    `is_final`: whether the same would happen again until somebody changes a setting, here or at the relay.
    """

    def __init__(self, reply: Reply, *, is_final: bool) -> None:
        super().__init__(f"{reply.phase}: {reply.text}")
        self.reply = reply
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """A URL of MAIL_RELAYS."""

    url: SplitResult

    @classmethod
    def parse(cls, text: str) -> "RelayUrl":
        """Raises ValueError."""
        url = urlsplit(text)
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ValueError("MAIL_RELAYS: smtp://host:port or smtps://host:port")
        return cls(url)

    @property
    def name(self) -> str:
        """Host and port."""
        return f"{self.url.hostname}:{self.port}"

    @property
    def port(self) -> int:
        """As given, else the usual one: 465 with TLS from the start, 587 where it is required, 25."""
        return self.url.port or {"from the start": 465, "required": 587}.get(self.tls, 25)

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password."""
        return (unquote(self.url.username), unquote(self.url.password or "")) if self.url.username else None

    @property
    def tls(self) -> str:
        """`from the start`, `required`, `off` or `auto`."""
        if self.url.scheme == "smtps":
            return "from the start"
        return parse_qs(self.url.query).get("tls", ["auto"])[0]


class NoLoginInCommon(SMTPException):
    """The relay offers no login that we know."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


async def open_dialogue(relay: RelayUrl, helo: str | None, timeout_s: float) -> Dialogue:
    """Connect and sign in. `helo`: our name, None for `host_name` or our address. Raises NotOpened."""
    smtp = SMTP(
        hostname=relay.url.hostname,
        port=relay.port,
        use_tls=relay.tls == "from the start",
        start_tls=False,
        local_hostname="localhost",  # replaced before it is said
        timeout=timeout_s,
    )
    phase = [Phase.CONNECT]
    try:
        await smtp.connect()
        smtp.local_hostname = helo or await asyncio.to_thread(host_name) or _address_literal(smtp)
        await _sign_in(smtp, relay, phase)
    except (SMTPException, OSError, ValueError) as error:
        smtp.close()
        raise _not_opened(phase[0], error) from error
    except BaseException:
        smtp.close()
        raise
    assert smtp.protocol is not None  # noqa: S101 - it has just connected
    transport = cast(asyncio.Transport, smtp.protocol.transport)
    offered = frozenset(name for name in EXTENSIONS if smtp.supports_extension(name))
    return Dialogue(SmtpWire(transport), offered, timeout_s)


async def _sign_in(smtp: SMTP, relay: RelayUrl, phase: list[Phase]) -> None:
    """Say our name, start TLS and log in. `phase` has the step that was reached."""
    phase[0] = Phase.EHLO
    await _say_hello(smtp)
    if relay.tls == "required" or (relay.tls == "auto" and smtp.supports_extension("starttls")):
        phase[0] = Phase.STARTTLS
        await smtp.starttls()
        phase[0] = Phase.EHLO
        await _say_hello(smtp)
    if relay.login is not None:
        phase[0] = Phase.AUTH
        await _log_in(smtp, *relay.login)


async def _say_hello(smtp: SMTP) -> None:
    """Send EHLO and learn the relay's extensions."""
    try:
        await smtp.ehlo()
    except SMTPHeloError:
        if not smtp.is_connected:
            raise
        await smtp.helo()  # for a relay from before EHLO (1995)


async def _log_in(smtp: SMTP, user: str, password: str) -> None:
    """Log in with the first mechanism that works. Raises SMTPException.

    PLAIN and LOGIN hand over the same password, so a password that one has refused is not tried with the other:
    too many refusals lock the account. CRAM-MD5 comes first where nothing is encrypted; a relay that keeps only
    hashes of passwords refuses it always.
    """
    mechanisms = {"cram-md5": smtp.auth_crammd5, "plain": smtp.auth_plain, "login": smtp.auth_login}
    offered = [name for name in mechanisms if name in smtp.server_auth_methods]
    if smtp.get_transport_info("sslcontext") is not None:
        offered.sort(key=lambda name: name == "cram-md5")
    if not offered:
        raise NoLoginInCommon
    for name in offered:
        try:
            await mechanisms[name](user, password)
            return
        except SMTPAuthenticationError as error:
            is_refused = error.code == BAD_CREDENTIALS and name != "cram-md5"
            if is_refused or name == offered[-1] or not smtp.is_connected:
                raise


def _not_opened(phase: Phase, error: Exception) -> NotOpened:
    """Say at which step it failed, and whether for good."""
    if not isinstance(error, SMTPResponseException):
        is_final = isinstance(error, SMTPException) and not isinstance(error, OSError)
        return NotOpened(Reply(phase, None, _why(error)), is_final=is_final)
    if isinstance(error, SMTPConnectResponseError):
        phase = Phase.GREETING
    text = " ".join(str(error.message).split())
    return NotOpened(Reply(phase, error.code, text), is_final=error.code >= 500)


def _why(error: Exception) -> str:
    """What callers are told of a failure without a reply. The library's words may name addresses of ours."""
    cause = error.__cause__ or error
    match cause:
        case NoLoginInCommon():
            return "it offers no login that we know"
        case TimeoutError():
            return "it does not answer in time"
        case ssl.SSLCertVerificationError():
            return "its certificate is not trusted"
        case ssl.SSLError():
            return "it does not speak TLS as we do"
        case socket.gaierror():
            return "its name cannot be resolved"
        case ConnectionRefusedError():
            return "it refuses the connection"
        case ConnectionError() | SMTPServerDisconnected():
            return "the connection was lost"
        case OSError():
            return "it cannot be connected to"
    return "it does not speak SMTP as we do"


@cache
def host_name() -> str | None:
    """Return the machine's full host name, None if it has none. May ask the name server."""
    name = socket.getfqdn()
    is_full = "." in name and not name.startswith("localhost") and not name.endswith(".arpa")
    return name if is_full else None


def _address_literal(smtp: SMTP) -> str:
    """Return our address as an EHLO name (RFC 5321, 4.1.3), which is for hosts without a name."""
    address: str = smtp.get_transport_info("sockname")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

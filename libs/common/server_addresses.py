"""Reads the addresses of NATS and Redis. A message says what is wrong, but repeats no part of an address."""

import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit


class NatsAddresses(NamedTuple):
    """The servers of a cluster without their login, which is the same for all of them."""

    servers: list[str]
    user: str | None
    password: str | None
    token: str | None


def nats_addresses(text: str) -> NatsAddresses:
    """Parse `nats://user:password@host:port,nats://…`. Raises ValueError.

    The login may stand in one address or in each; special characters in it are percent-encoded. A user without a
    password is a token.
    """
    parts = [_split(part.strip(), ("nats", "tls"), "nats://host:port") for part in text.split(",")]
    if len({part.scheme for part in parts}) > 1:
        raise ValueError("all addresses must begin with nats://, or all with tls://")
    logins = {(part.username, part.password) for part in parts if part.username}
    if len(logins) > 1:
        raise ValueError("all addresses must have the same user and password")
    user, password = (text and unquote(text) for text in (logins.pop() if logins else (None, None)))
    servers = [f"{part.scheme}://{part.netloc.rpartition('@')[2]}" for part in parts]
    if user is not None and password is None:
        return NatsAddresses(servers, None, None, token=user)
    return NatsAddresses(servers, user, password, token=None)


def check_redis_address(text: str) -> None:
    """Raises ValueError if `text` is not like `redis://user:password@host:port/db`."""
    if urlsplit(text).scheme.startswith("redis+sentinel"):
        raise ValueError("Sentinel is not supported; give an address that always leads to the primary")
    if text.startswith("unix://"):
        return
    database = _split(text, ("redis", "rediss"), "redis://host:port/db").path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("the database, after the port and a slash, is not a number")


def _split(address: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port is not a number, or the address is not like {example}") from None
    if parts.scheme not in schemes or not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise ValueError(f"an address is not like {example}; several are separated by commas")
    return parts

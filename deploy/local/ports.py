"""TCP ports of this machine: free ones, taken ones, and whether somebody answers at one."""

import errno
import random
import socket
import struct
from urllib.parse import urlsplit

PORTS = range(10_000, 32_000)
_given: set[int] = set()
_chance = random.SystemRandom()  # tests seed the usual one, in all processes alike
POSTGRES_PROTOCOL = 3 << 16
"""Version 3.0, as it stands in a StartupMessage (PostgreSQL's documentation, "Message Formats")."""
CANNOT_CONNECT_NOW = b"C57P03\0"
DEFAULT_PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379, "nats": 4222, "tls": 4222}


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens at, another one at each call.

    It is below those that Linux gives to outgoing connections (32768 and up), so none of these can take it before
    the caller does. Processes that choose at the same time begin at random places.
    """
    while True:
        port = _chance.choice(PORTS)
        if port not in _given and why_not(port, reuse=False) is None:
            _given.add(port)
            return port


def why_not(port: int, *, reuse: bool = True) -> str | None:
    """Why nobody can listen at `port` of 127.0.0.1 now; None: it is free.

    `reuse`: a port whose last connections are not forgotten yet counts as free, as servers take it.
    """
    with socket.socket() as probe:
        if reuse:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            denied = error.errno in (errno.EACCES, errno.EPERM)
            return "may not be used by this user" if denied else "is taken by another program"
        return None


def answers(url: str) -> bool:
    """Whether something accepts connections at the host and port of `url`; PostgreSQL: and lets them in by now."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=1) as connection:
            return not (parts.scheme.startswith("postgres") and _still_starts(connection))
    except OSError:
        return False


def _still_starts(connection: socket.socket) -> bool:
    """Whether PostgreSQL says that it starts, stops or recovers, when asked as pg_isready does."""
    message = struct.pack("!i", POSTGRES_PROTOCOL) + b"user\0nobody\0\0"
    connection.sendall(struct.pack("!i", len(message) + 4) + message)
    return CANNOT_CONNECT_NOW in connection.recv(4096)

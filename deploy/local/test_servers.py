"""Starting servers and waiting for them, for whoever needs them for the length of a block.

`make up` keeps its servers under a supervisor instead; the tests and the benchmarks use this.
"""

import random
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import servers
from deploy.local.servers import CannotRun, Server

START_WITHIN_S = 60.0
PORTS = range(10_000, 32_000)
_given: set[int] = set()
_chance = random.SystemRandom()  # tests seed the usual one, in all processes alike
POSTGRES_PROTOCOL = 3 << 16
"""Version 3.0, as it stands in a StartupMessage (PostgreSQL's documentation, "Message Formats")."""
CANNOT_CONNECT_NOW = b"C57P03\0"


@dataclass(frozen=True)
class Trio:
    """The three servers of the fleet."""

    postgres: Server
    redis: Server
    nats: Server


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens at, another one at each call.

    It is below those that Linux gives to outgoing connections (32768 and up), so none of these can take it before
    the caller does. Processes that choose at the same time begin at random places.
    """
    while True:
        port = _chance.choice(PORTS)
        if port not in _given and not _is_taken(port):
            _given.add(port)
            return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def answers(url: str) -> bool:
    """Whether something accepts connections at the host and port of `url`; PostgreSQL: and lets them in by now."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=1) as connection:
            return not (parts.scheme.startswith("postgres") and _still_starts(connection))
    except OSError:
        return False


def _still_starts(connection: socket.socket) -> bool:
    """Whether PostgreSQL says that it starts, stops or recovers, when asked as pg_isready does."""
    message = struct.pack("!i", POSTGRES_PROTOCOL) + b"user\0nobody\0\0"
    connection.sendall(struct.pack("!i", len(message) + 4) + message)
    return CANNOT_CONNECT_NOW in connection.recv(4096)


@contextmanager
def running(server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `server` while the block runs; its output goes to a log in `folder`. Raises CannotRun."""
    path = folder / f"{server.name}.log"
    with path.open("ab") as output:
        process = subprocess.Popen(server.command, stdout=output, stderr=output, start_new_session=True)
        try:
            deadline = time.monotonic() + START_WITHIN_S
            while not answers(server.url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CannotRun(f"{server.name} did not start:\n{path.read_text()[-2000:]}")
                time.sleep(0.02)
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def trio(folder: Path, *postgres_options: str) -> Iterator[Trio]:
    """PostgreSQL, Redis and NATS on free ports, with their data in `folder`."""
    password = servers.new_password()
    started = Trio(
        servers.postgres(folder / "postgres", free_port(), password, *postgres_options),
        servers.redis(folder / "redis", free_port(), password),
        servers.nats(folder / "nats", free_port(), password),
    )
    with ExitStack() as stack:
        for server in (started.postgres, started.redis, started.nats):
            stack.enter_context(running(server, folder))
        yield started

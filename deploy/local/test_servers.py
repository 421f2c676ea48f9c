"""Starts servers for the duration of a block, and waits until they are ready.

The tests and benchmarks use this. `make up` runs its servers under a supervisor instead.
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
_handed_out: set[int] = set()
_random = random.SystemRandom()  # tests seed the default generator identically in all processes
POSTGRES_PROTOCOL = 3 << 16
"""Protocol version 3.0, as encoded in a StartupMessage (PostgreSQL's documentation, "Message Formats")."""
CANNOT_CONNECT_NOW = b"C57P03\0"


@dataclass(frozen=True)
class Trio:
    """PostgreSQL, Redis and NATS."""

    postgres: Server
    redis: Server
    nats: Server


def free_port() -> int:
    """A free TCP port on 127.0.0.1, a different one at each call.

    It is below the ports that Linux uses for outgoing connections (32768 and up), so no connection can take it
    before the caller does. It is random, so that processes that choose at the same time rarely collide.
    """
    while True:
        port = _random.choice(PORTS)
        if port not in _handed_out and not _is_in_use(port):
            _handed_out.add(port)
            return port


def _is_in_use(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def answers(url: str) -> bool:
    """Whether a server accepts connections at the host and port of `url`. PostgreSQL must also have started up."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=1) as connection:
            return not (parts.scheme.startswith("postgres") and _is_starting(connection))
    except OSError:
        return False


def _is_starting(connection: socket.socket) -> bool:
    """Whether PostgreSQL replies that it is starting, stopping or recovering. The check is that of pg_isready."""
    message = struct.pack("!i", POSTGRES_PROTOCOL) + b"user\0nobody\0\0"
    connection.sendall(struct.pack("!i", len(message) + 4) + message)
    return CANNOT_CONNECT_NOW in connection.recv(4096)


@contextmanager
def running(server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `server` while the block runs. Its output goes to a log file in `folder`. Raises CannotRun."""
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
    """Run PostgreSQL, Redis and NATS on free ports, with their data in `folder`. Raises CannotRun."""
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

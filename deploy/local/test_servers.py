"""Starting servers and waiting for them, for whoever needs them for the length of a block.

`make up` keeps its servers under a supervisor instead; the tests and the benchmarks use this.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import servers
from deploy.local.errors import CannotRun
from deploy.local.ports import answers, free_port
from deploy.local.servers import Server

__all__ = ["START_WITHIN_S", "Trio", "answers", "free_port", "running", "trio"]

START_WITHIN_S = 60.0


@dataclass(frozen=True)
class Trio:
    """The three servers of the fleet."""

    postgres: Server
    redis: Server
    nats: Server


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

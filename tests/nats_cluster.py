"""A cluster of real NATS servers on loopback, each of which a test may kill or freeze."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.local import servers
from deploy.local.servers import write_secret
from deploy.local.test_servers import free_port
from tests.server_process import ServerProcess

PASSWORD = "secret"  # noqa: S105 - of servers that live as long as a test


@contextmanager
def nats_cluster(folder: Path, number: int = 3) -> Iterator[list[ServerProcess]]:
    """`number` servers while the block runs."""
    routes = [free_port() for _ in range(number)]
    members = [_member(folder / f"n{position}", position, routes) for position in range(number)]
    try:
        for member in members:
            member.start()
        yield members
    finally:
        for member in members:
            member.stop(signal.SIGKILL)


def _member(folder: Path, position: int, routes: list[int]) -> ServerProcess:
    alone = servers.nats(folder, free_port(), PASSWORD)
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    listen = f'listen: "127.0.0.1:{routes[position]}"'
    text = alone.configuration + f"server_name: n{position}\ncluster {{ name: c, {listen}, routes: [{others}] }}\n"
    write_secret(Path(alone.command[-1]), text)
    return ServerProcess(replace(alone, configuration=text), folder)

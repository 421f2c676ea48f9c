"""Free ports, and whether a server answers."""

import socket
import sys
from pathlib import Path

import pytest

from deploy.local.servers import CannotRun, Server
from deploy.local.test_servers import answers, free_port, running

SERVE = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    while True:
        listening.accept()[0].close()
"""


def serving(port: int) -> Server:
    return Server("echo", [sys.executable, "-c", SERVE, str(port)], f"tcp://127.0.0.1:{port}")


def test_ports_differ_and_are_below_those_of_outgoing_connections() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(1024 <= port < 32768 for port in ports)


def test_a_free_port_can_be_listened_at_until_somebody_does() -> None:
    port = free_port()
    assert not answers(f"redis://127.0.0.1:{port}/0")
    with socket.create_server(("127.0.0.1", port)):
        assert answers(f"redis://127.0.0.1:{port}/0")
    assert not answers(f"redis://127.0.0.1:{port}/0")


def test_a_server_runs_while_the_block_runs_even_if_that_raises(tmp_path: Path) -> None:
    server = serving(free_port())

    def fail() -> None:
        with running(server, tmp_path) as process:
            assert process.poll() is None
            assert answers(server.url)
            raise ValueError("the block's")

    with pytest.raises(ValueError, match="the block's"):
        fail()
    assert not answers(server.url)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('port 7 is cursed')"]
    server = Server("cursed", command, f"tcp://127.0.0.1:{free_port()}")
    said = r"cursed did not start:\nport 7 is cursed"
    with pytest.raises(CannotRun, match=said), running(server, tmp_path):
        pass

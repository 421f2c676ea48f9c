"""A port that is given away is free, is given to one caller, and is not one that Linux gives away itself."""

import socket

from deploy.local.ports import PORTS, answers, free_port, why_not


def test_each_caller_gets_a_free_port_of_its_own() -> None:
    given = [free_port() for _ in range(20)]
    assert len(set(given)) == 20
    assert all(port in PORTS and why_not(port) is None for port in given)


def test_a_port_that_somebody_listens_at_is_taken() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert why_not(port) == "is taken by another program"
        assert answers(f"redis://127.0.0.1:{port}")
    assert why_not(port) is None
    assert not answers(f"redis://127.0.0.1:{port}")

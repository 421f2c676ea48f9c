"""Where a request comes from: the first address from the right that is no proxy of ours."""

import pytest

from services.gateway.http.client_address import ClientAddresses

OURS = ["10.0.0.0/8", "fd00::/8"]


def place(peer: str | None, *forwarded: str, proxies: list[str] = OURS) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    client = None if peer is None else (peer, 1234)
    return ClientAddresses(proxies).of({"type": "http", "client": client, "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("1.1.1.1",), "203.0.113.9"),
        ("10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("10.0.0.1", ("6.6.6.6, 203.0.113.9, 10.2.0.1",), "203.0.113.9"),
        ("10.0.0.1", ("6.6.6.6", "203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", ("203.0.113.9, <script>",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.9, unknown, 10.3.0.1",), "10.3.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.9:4711",), "203.0.113.9"),
        ("10.0.0.1", ("[2001:db8::1]:4711",), "2001:db8::/64"),
        ("2001:db8:0:1::5", (), "2001:db8:0:1::/64"),
        ("fd00::1", ("2001:db8::77",), "2001:db8::/64"),
        ("::ffff:203.0.113.9", (), "203.0.113.9"),
        ("::ffff:10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        (None, ("1.1.1.1",), "unknown"),
    ],
)
def test_the_walk(peer: str | None, forwarded: tuple[str, ...], expected: str) -> None:
    assert place(peer, *forwarded) == expected


def test_without_proxies_nobody_is_believed() -> None:
    assert place("10.0.0.1", "1.1.1.1", proxies=[]) == "10.0.0.1"


def test_a_whole_64_counts_as_one() -> None:
    assert len({place(f"2001:db8::{number:x}") for number in range(1000)}) == 1

"""What is no request, though a parser takes it for one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.well_formed import ONLY_ONCE, refusal_of

HOST = (b"host", b"example.com")


def scope(*headers: tuple[bytes, bytes], version: str = "1.1", path: str = "/") -> dict[str, Any]:
    return {"http_version": version, "headers": list(headers), "path": path, "query_string": b""}


@pytest.mark.parametrize(
    "host", [b"example.com", b"example.com:8080", b"127.0.0.1", b"[::1]:80", b"", b"xn--bcher-kva.example", b"a_b"]
)
def test_a_host_is_a_host(host: bytes) -> None:
    assert refusal_of(scope((b"host", host))) is None


@pytest.mark.parametrize(
    "head",
    [
        scope(),
        scope(HOST, HOST),
        scope(HOST, (b"host", b"other.example")),
        scope((b"host", b"a b")),
        scope((b"host", b"a/b")),
        scope((b"host", b"user@example.com")),
        scope((b"host", b"example.com:port")),
        scope((b"host", b"\xe9.example")),
        scope(version="0.9"),
        scope(HOST, version="2.0"),
        *(scope(HOST, (name, b"x"), (name, b"x"), version="1.1") for name in sorted(ONLY_ONCE - {b"host"})),
    ],
    ids=str,
)
def test_what_nobody_could_mean_is_refused_and_ends_the_connection(head: dict[str, Any]) -> None:
    refusal = refusal_of(head)
    assert refusal is not None
    assert (refusal.status, refusal.headers["Connection"]) == (400, "close")


def test_a_request_of_http_1_0_needs_no_host() -> None:
    assert refusal_of(scope(version="1.0")) is None
    assert refusal_of(scope(HOST, HOST, version="1.0")) is not None


def test_lists_may_have_several_lines() -> None:
    fields = [(b"prefer", b"wait=1"), (b"if-none-match", b'"a"'), (b"accept", b"*/*"), (b"cookie", b"a=b")]
    assert refusal_of(scope(HOST, *fields, *fields)) is None


def test_a_nul_in_the_url_is_refused() -> None:
    assert refusal_of(scope(HOST, path="/\x00")) is not None


@given(st.binary(max_size=20))
def test_no_host_breaks_it(host: bytes) -> None:
    refusal_of(scope((b"host", host)))

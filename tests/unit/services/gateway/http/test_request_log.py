"""The trace of a request, and what every answer carries, whatever the application says."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from libs.common import tracing
from services.gateway.http.request_log import RequestLog, _traceparent

ROOT = Path(__file__).parents[5]
SCRAPE = """
from prometheus_client import REGISTRY, generate_latest
from services.gateway.http.request_log import _metrics_of
from services.gateway.routes import OPERATIONS, PUBLIC_OPERATIONS

for operation in (*OPERATIONS, *PUBLIC_OPERATIONS):
    for status in (200, 401, 403, 429):
        count, seconds = _metrics_of(operation.method, operation.endpoint.__name__, status)
        count.inc(12_345)
        seconds.observe(0.1)
print(len(generate_latest(REGISTRY)))
"""
SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def parts(traceparent: str) -> list[str]:
    found = traceparent.split("-")
    assert [len(part) for part in found] == [2, 32, 16, 2]
    assert set("".join(found)) <= set("0123456789abcdef")
    assert found[1] != "0" * 32
    assert found[2] != "0" * 16
    return found


def test_a_trace_that_was_sent_goes_on_with_a_span_of_ours() -> None:
    version, trace, span, flags = parts(_traceparent(SENT))
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"
    assert parts(_traceparent(SENT[:-2] + "00"))[3] == "00", "the caller does not sample, so we do not"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        SENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        SENT.replace("b7ad6b7169203331", "0" * 16),
        SENT.replace("a", "A"),
        "01" + SENT[2:],
        SENT + "-more",
        SENT + "\n",
        SENT[:-1],
    ],
)
def test_what_is_no_trace_begins_a_new_one(sent: str) -> None:
    _, trace, _, flags = parts(_traceparent(sent))
    assert (trace != SENT.split("-")[1], flags) == (True, "01")
    assert trace != parts(_traceparent(sent))[1]


@given(st.binary(max_size=60))
def test_whatever_is_sent_there_is_a_trace(sent: bytes) -> None:
    parts(_traceparent(sent.decode("latin-1")))


async def logged(
    headers: Mapping[bytes, bytes],
    *,
    draining: bool = False,
    decided: list[tuple[bytes, bytes]] | None = None,
    traceparent: str = SENT,
) -> list[tuple[bytes, bytes]]:
    """The header fields of an answer that has `headers` of its own."""
    fields: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        scope["argosy.headers"] = decided or []
        await send({"type": "http.response.start", "status": 200, "headers": list(headers.items())})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(message: Message) -> None:
        fields.extend(message.get("headers", ()))

    stopping = asyncio.Event()
    if draining:
        stopping.set()
    of = {"app": SimpleNamespace(state=SimpleNamespace(draining=stopping))}
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "headers": [(b"traceparent", traceparent.encode())],
        **of,
    }
    await RequestLog(app)(scope, receive, send)
    return fields


async def test_an_answer_is_nobodys_page_and_not_to_be_kept_unless_it_says_so() -> None:
    plain = dict(await logged({}))
    assert plain[b"cache-control"] == b"no-store"
    assert plain[b"x-content-type-options"] == b"nosniff"
    assert b"default-src 'none'" in plain[b"content-security-policy"]
    own = await logged({b"cache-control": b"max-age=300"})
    assert [value for name, value in own if name == b"cache-control"] == [b"max-age=300"]


async def test_what_was_decided_about_limits_is_on_the_answer() -> None:
    decided = [(b"ratelimit", b'"api";r=1;t=60')]
    assert decided[0] in await logged({}, decided=decided)


async def test_a_gateway_that_stops_sends_the_next_request_elsewhere() -> None:
    assert (b"connection", b"close") in await logged({}, draining=True)
    assert (b"connection", b"close") not in await logged({})


async def test_the_line_has_the_path_and_the_trace_and_no_query(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    fields = dict(await logged({}))
    await asyncio.sleep(0)  # lines of one turn of the loop are written together
    line: dict[str, Any] = orjson.loads(capfdbinary.readouterr().out.splitlines()[-1])
    assert (line["method"], line["path"], line["status"]) == ("GET", "/x", 200)
    assert line["trace_id"] == SENT.split("-")[1]
    assert line["request_id"].encode() == fields[b"x-request-id"]
    assert (line["caller"], line["tenant"]) == (None, None)


async def test_half_an_answer_is_broken_off_instead_of_mended() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    of = {"app": SimpleNamespace(state=SimpleNamespace(draining=asyncio.Event()))}
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], **of}
    with pytest.raises(ZeroDivisionError):
        await RequestLog(app)(scope, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_a_scrape_stays_small_when_every_operation_is_used() -> None:
    """In a process of its own, which has the series of no other test."""
    done = subprocess.run([sys.executable, "-c", SCRAPE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 50_000 < int(done.stdout) <= 150_000


async def test_a_sampled_request_has_a_span_whose_id_is_the_requests() -> None:
    spans: list[tracing.Span] = []
    tracing.start(SimpleNamespace(add=spans.append, close=lambda _within_s: None), 0.0)
    try:
        for sent in (SENT, SENT[:-2] + "00", ""):
            fields = dict(await logged({}, traceparent=sent))
            if sent == SENT:
                request_id = fields[b"x-request-id"].decode()
    finally:
        tracing.stop(0)
    (span,) = spans
    assert span.place.trace_id == SENT.split("-")[1]
    assert (span.parent_id, f"req_{span.place.span_id}") == (SENT.split("-")[2], request_id)
    assert span.attributes["http.response.status_code"] == 200

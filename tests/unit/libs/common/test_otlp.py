"""Spans as a collector takes them; and collectors that take nothing."""

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from deploy.local.test_servers import free_port
from libs.common.otlp import SENT_AT_ONCE, WAITING_AT_MOST, Otlp
from libs.common.tracing import Kind, Place, Span
from tests.polling import until
from tests.receiver import Receiver, receiving

PLACE = Place("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
ELSEWHERE = Place("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def otlp(url: str) -> Otlp:
    return Otlp(url, release="4dfe942", environment="staging", service="ocr")


def span(**attributes: str | float | bool) -> Span:
    one = Span("ocr process", Kind.CONSUMER, PLACE, parent_id=ELSEWHERE.span_id, links=(ELSEWHERE,))
    one.set(**attributes)
    one.failed = True
    one.ended_ns = one.started_ns + 1_500_000_000
    return one


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("argosy_spans_dropped_total", {"reason": reason}) or 0


async def test_a_span_arrives_as_it_is(receiver: Receiver) -> None:
    exporter = otlp(receiver.url)
    exporter.add(span(queue="ocr", waited_s=0.25, **{"http.route": "submit_ocr"}))

    async def came() -> bool:
        return bool(receiver.spans)

    await until(came)
    (one,) = receiver.spans
    assert (one.name, one.kind, one.service) == ("ocr process", 5, "ocr")  # in protobuf they begin at 1
    assert (Place(one.trace_id, one.span_id), one.parent_id) == (PLACE, ELSEWHERE.span_id)
    assert one.links == (tuple(ELSEWHERE),)
    assert one.attributes == {"argosy.queue": "ocr", "argosy.waited_s": 0.25, "http.route": "submit_ocr"}
    assert (one.failed, one.seconds) == (True, 1.5)
    exporter.close(1)


def test_what_waits_is_sent_at_the_end(receiver: Receiver) -> None:
    exporter = otlp(receiver.url + "/")
    for _ in range(10):
        exporter.add(span())
    exporter.close(30)
    assert len(receiver.spans) == 10


async def nothing_is_sent() -> bool:
    """Whether no thread of the SDK is left in this process."""
    return not any("BatchSpan" in thread.name for thread in threading.enumerate())


def test_without_a_span_there_is_no_thread_and_nothing_to_wait_for(receiver: Receiver) -> None:
    exporter = otlp(receiver.url)
    exporter.close(0)
    assert exporter._processor is None
    assert receiver.requests == 0


async def test_a_collector_that_is_away_costs_spans_and_nothing_else() -> None:
    before = dropped("refused")
    exporter = otlp(f"http://127.0.0.1:{free_port()}")
    exporter.add(span())

    async def noticed() -> bool:
        return dropped("refused") > before

    await until(noticed)
    exporter.close(1)
    await until(nothing_is_sent)


async def test_a_collector_that_hangs_holds_up_neither_callers_nor_the_end(receiver: Receiver) -> None:
    receiver.answering.clear()
    exporter = otlp(receiver.url)
    before = dropped("full")
    more = 600  # than wait, with those that are on their way
    for _ in range(WAITING_AT_MOST + more):
        exporter.add(span())
    assert dropped("full") - before >= 1
    begun = time.monotonic()
    exporter.close(0.2)
    assert time.monotonic() - begun < 10
    assert receiver.spans == []
    receiver.answering.set()
    await until(nothing_is_sent)
    assert len(receiver.spans) <= SENT_AT_ONCE, "only what was on its way"


def test_variables_of_the_sdk_change_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "none")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    exporter = otlp(receiver.url)
    exporter.add(span())
    exporter.close(30)
    assert [one.service for one in receiver.spans] == ["ocr"]

"""Which traces have spans, and what is in them."""

from collections import Counter
from collections.abc import Iterator

import pytest

from libs.common import tracing
from libs.common.errors import Reject
from libs.common.ledger.jobs import new_id
from libs.common.tracing import CHILDREN_AT_MOST, NO_SPAN, Kind, Place, Span

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Exported(list[Span]):
    """The spans that were exported."""

    closed_within_s: float | None = None

    def add(self, span: Span) -> None:
        self.append(span)

    def close(self, within_s: float) -> None:
        self.closed_within_s = within_s


@pytest.fixture
def exported() -> Iterator[Exported]:
    spans = Exported()
    tracing.start(spans, 1.0)
    yield spans
    tracing.enter(None)
    tracing.stop(0)


def root() -> Span:
    span = Span("request", Kind.SERVER, Place.of(TRACE))
    tracing.enter(span)
    return span


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_the_callers_flag_decides(exported: Exported, flags: str, sampled: bool) -> None:
    assert tracing.is_sampled(TRACE[:-2] + flags) is sampled


def test_nothing_is_sampled_without_a_collector() -> None:
    assert not tracing.is_sampled(TRACE)


def test_neither_is_what_has_no_trace(exported: Exported) -> None:
    assert not tracing.is_sampled(None)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_of_the_traces_that_begin_here_a_share_is_sampled(share: float) -> None:
    tracing.start(Exported(), share)
    try:
        flags = Counter(tracing.new_traceparent()[-2:] for _ in range(4_000))
    finally:
        tracing.stop(0)
    assert flags.keys() <= {"00", "01"}
    assert share * 4_000 == pytest.approx(flags["01"], abs=0 if share in (0, 1) else 200)


def test_a_child_is_within_the_span_of_its_task(exported: Exported) -> None:
    parent = root()
    with tracing.child("finish", queue="ocr") as span:
        span.set(bytes=3, code=None)
    assert (span.place.trace_id, span.parent_id) == parent.place
    assert span.attributes == {"queue": "ocr", "bytes": 3}
    assert exported == [span]
    assert span.ended_ns >= span.started_ns


def test_without_a_span_there_is_none_and_nobody_is_told(exported: Exported) -> None:
    with tracing.child("finish") as span:
        span.set(bytes=3)
    assert span is NO_SPAN
    assert (exported, NO_SPAN.attributes) == ([], {})


def test_an_error_fails_the_span_and_says_no_more_than_its_code(exported: Exported) -> None:
    root()
    for error, code in ((Reject("jane@example.com"), "reject"), (KeyError("jane@example.com"), "key_error")):
        with pytest.raises(type(error)), tracing.child("page"):
            raise error
        assert (exported[-1].failed, exported[-1].attributes) == (True, {"error_code": code})


def test_what_has_very_many_parts_shows_some_and_says_how_many_are_left_out(exported: Exported) -> None:
    span = root()
    for _ in range(CHILDREN_AT_MOST + 7):
        with tracing.child("smtp transaction"):
            pass
    span.end()
    assert len(exported) == CHILDREN_AT_MOST + 1
    assert span.attributes["left_out"] == 7


def test_a_trace_of_its_own_is_linked_to_where_it_came_from(exported: Exported) -> None:
    span = tracing.own_trace("ocr process", Kind.CONSUMER, link=Place.of(TRACE))
    assert span.place.trace_id != Place.of(TRACE).trace_id
    assert (span.links, span.parent_id) == ((Place.of(TRACE),), None)


def test_children_of_a_job_know_where_it_fanned_out() -> None:
    job = new_id()
    assert tracing.span_id_of(job) == tracing.span_id_of(job)
    assert int(tracing.span_id_of(job), 16) > 0
    assert len(tracing.span_id_of(job)) == 16


def test_when_it_has_stopped_nothing_is_exported(exported: Exported) -> None:
    span = root()
    tracing.stop(0.5)
    span.end()
    assert exported == []
    assert exported.closed_within_s == 0.5

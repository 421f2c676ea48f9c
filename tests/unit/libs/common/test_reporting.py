"""What is reported as a bug, and how often."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from libs.common import log, reporting
from libs.common.contracts.ids import public_id
from libs.common.errors import Misconfigured, Reject, Retry, Unavailable
from libs.common.ledger.jobs import new_id
from libs.common.log import Subject, about
from libs.common.reporting import Report
from tests.unit.libs.common.test_log import TRACE, logging_as


class Sent(list[Report]):
    """The reports that were sent."""

    closed_within_s: float | None = None

    def send(self, report: Report) -> None:
        self.append(report)

    def close(self, within_s: float) -> None:
        self.closed_within_s = within_s


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Sent]:
    reports = Sent()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with logging_as("ocr", capsysbinary):
        reporting.start(reports)
        yield reports
        reporting.stop(0)


def log_error(error: BaseException, part: str = "worker") -> None:
    log.get(part).error("job.bug", exc_info=error)


def test_a_bug_is_reported_with_the_ids_that_its_log_line_has(sent: Sent) -> None:
    job = new_id()
    about.set(Subject(job, TRACE))
    try:
        try:
            raise KeyError("page")
        except KeyError:
            log.get("worker").exception("job.bug", attempt=1)
    finally:
        about.set(None)
    (report,) = sent
    assert isinstance(report.error, KeyError)
    assert (report.event, report.part) == ("job.bug", "worker")
    trace = log.Trace.of(TRACE)
    assert report.facts == {
        "job_id": public_id(job), "request_id": trace.request_id, "trace_id": trace.trace_id
    }  # fmt: skip


@pytest.mark.parametrize("error", [Reject(), Unavailable(), Retry(), Misconfigured()])
def test_what_is_foreseen_is_no_bug(sent: Sent, error: Exception) -> None:
    log_error(error)
    assert sent == []


@pytest.mark.parametrize("method", ["warning", "info"])
def test_neither_is_what_is_no_error(sent: Sent, method: str) -> None:
    getattr(log.get("worker"), method)("job.failed", exc_info=ValueError("x"))
    log.get("worker").error("job.failed")
    assert sent == []


def test_what_libraries_log_may_be_an_outage_but_a_lost_task_is_a_bug(sent: Sent) -> None:
    for name in ("nats.aio.client", "asyncio"):
        logging.getLogger(name).error("failed", exc_info=ValueError(name))
    assert [report.part for report in sent] == ["asyncio"]


def test_each_kind_is_reported_once_a_second(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("libs.common.reporting.time", SimpleNamespace(monotonic=lambda: now))
    for second in (0.0, 0.4, 0.9, 1.0, 1.5):
        now = 100.0 + second
        log_error(ValueError())
        log_error(KeyError())
        log_error(ValueError(), part="dispatcher")
    assert len(sent) == 2 * 3


def test_ten_thousand_failures_in_a_second_are_one_report(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.reporting.time", SimpleNamespace(monotonic=lambda: 100.0))
    for number in range(10_000):
        reporting.report(ValueError(str(number)), event="job.bug", part="worker", facts={})
    assert len(sent) == 1


def test_kinds_that_never_end_fill_no_memory(sent: Sent) -> None:
    for number in range(2 * reporting.KINDS_AT_MOST + 1):
        reporting.report(ValueError(), event="job.bug", part=str(number), facts={})
    assert len(reporting._reported_at) <= reporting.KINDS_AT_MOST


def test_a_kind_is_where_our_code_failed_last(sent: Sent) -> None:
    failing: Callable[[], object] = lambda: log.Trace.of("no traceparent")  # noqa: E731
    with pytest.raises(ValueError, match="unpack") as caught:
        failing()
    log_error(caught.value)
    assert sent[0].kind == ("worker", "ValueError", "libs/common/log.py:Trace.of")


def test_when_it_has_stopped_nothing_is_reported(sent: Sent) -> None:
    reporting.stop(0.5)
    log_error(ValueError())
    assert sent == []
    assert sent.closed_within_s == 0.5

"""Which errors end a job, and which lead to another try."""

import pytest

from libs.common.backoff import Backoff
from libs.common.errors import Reject, Retry, StorageUnavailable, Unavailable
from libs.common.ledger.claim import Claim
from libs.common.ledger.jobs import State, new_id
from libs.common.worker.failure import (
    BUG,
    OUTAGE_WAIT_AT_MOST_S,
    OUTAGE_WAIT_S,
    Outages,
    TimedOut,
    outcome_of_failure,
    postponed,
    released,
)


def claim(failures: int = 0, max_attempts: int = 3) -> Claim:
    return Claim(new_id(), 7, failures, max_attempts, 60.0, "dev", "k", "{}", None, 0.0, None, 0)


class NoGood(Reject):
    """It is no good."""


def test_reject_fails_at_once_with_its_docstring_as_message() -> None:
    outcome = outcome_of_failure(claim(), NoGood(), Backoff())
    assert outcome.state is State.FAILED
    assert outcome.error == {"code": "no_good", "type": "NoGood", "message": "It is no good.", "retryable": False}


def test_retry_says_when() -> None:
    outcome = outcome_of_failure(claim(), Retry("busy", after=42), Backoff())
    assert (outcome.state, outcome.retry_in_s, outcome.failed) == (State.QUEUED, 42, True)


def test_a_bug_is_tried_again_with_its_traceback_kept() -> None:
    try:
        raise KeyError("oops\x00")
    except KeyError as error:
        outcome = outcome_of_failure(claim(), error, Backoff())
    assert outcome.state is State.QUEUED
    assert outcome.error is not None
    assert outcome.error["code"] == "bug"
    assert "test_failure.py" in outcome.error["traceback"]
    assert "\x00" not in str(outcome.error)


def test_the_tenant_of_a_job_does_not_see_passwords_of_our_servers() -> None:
    try:
        raise OSError("smtp://argosy:hidden@relay is away")
    except OSError as error:
        outcomes = [outcome_of_failure(claim(), error, Backoff())]
    outcomes.append(outcome_of_failure(claim(), Retry("http://argosy:hidden@relay"), Backoff()))
    outcomes.append(postponed(claim(), StorageUnavailable("s3://argosy:hidden@relay"), 3.0))
    for outcome in outcomes:
        assert "://[redacted]@relay" in str(outcome.error)
        assert "hidden" not in str(outcome.error)


def test_a_bug_tells_nobody_where_things_are_in_memory() -> None:
    outcome = outcome_of_failure(claim(), RuntimeError(f"cannot use {object()!r}"), Backoff())
    assert outcome.error is not None
    assert outcome.error["message"] == BUG
    assert "cannot use <object object>" in str(outcome.error["traceback"])
    assert "0x" not in str(outcome.error)


@pytest.mark.parametrize("error", [Retry("again"), ValueError("bug"), TimedOut(5)])
def test_the_last_try_fails_the_job(error: Exception) -> None:
    outcome = outcome_of_failure(claim(failures=2), error, Backoff())
    assert outcome.state is State.FAILED
    assert outcome.failed


def test_a_release_costs_no_retry() -> None:
    outcome = released(claim())
    assert (outcome.state, outcome.failed, outcome.retry_in_s) == (State.QUEUED, False, 0.0)


def test_a_server_that_is_away_costs_no_retry_and_is_told() -> None:
    outcome = postponed(claim(failures=2), StorageUnavailable("The blob store is full."), 3.0)
    assert (outcome.state, outcome.failed, outcome.retry_in_s) == (State.QUEUED, False, 3.0)
    assert outcome.error == {
        "code": "storage_unavailable",
        "type": "StorageUnavailable",
        "message": "The blob store is full.",
        "retryable": True,
        "outage": True,
    }


def test_what_a_library_says_of_a_server_is_not_told() -> None:
    lost = Unavailable("PostgreSQL: [Errno 111] Connect call failed ('10.0.0.5', 5432)", server="PostgreSQL")
    outcome = postponed(claim(), lost, 3.0)
    assert outcome.error is not None
    assert outcome.error["message"] == "PostgreSQL cannot be used now."


def test_jobs_wait_as_long_as_an_outage_has_lasted_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("libs.common.worker.failure.time.monotonic", lambda: now)
    outages = Outages()
    assert OUTAGE_WAIT_S <= outages.wait_s("storage_unavailable") <= 2 * OUTAGE_WAIT_S
    now += 20
    assert 10 <= outages.wait_s("storage_unavailable") <= 20
    for _ in range(20):
        now += 20
        assert outages.wait_s("storage_unavailable") <= OUTAGE_WAIT_AT_MOST_S
    assert outages.wait_s("unavailable") <= 2 * OUTAGE_WAIT_S, "another server"
    now += 3 * OUTAGE_WAIT_AT_MOST_S
    assert outages.wait_s("storage_unavailable") <= 2 * OUTAGE_WAIT_S, "another outage"

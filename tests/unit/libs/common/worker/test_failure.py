"""Which errors end a job, and which lead to another try."""

import pytest

from libs.common.backoff import Backoff
from libs.common.errors import Reject, Retry
from libs.common.ledger.claim import Claim
from libs.common.ledger.jobs import State, new_id
from libs.common.worker.failure import TimedOut, outcome_of_failure, released


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


@pytest.mark.parametrize("error", [Retry("again"), ValueError("bug"), TimedOut(5)])
def test_the_last_try_fails_the_job(error: Exception) -> None:
    outcome = outcome_of_failure(claim(failures=2), error, Backoff())
    assert outcome.state is State.FAILED
    assert outcome.failed


def test_a_release_costs_no_retry() -> None:
    outcome = released(claim())
    assert (outcome.state, outcome.failed, outcome.retry_in_s) == (State.QUEUED, False, 0.0)

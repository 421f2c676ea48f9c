"""The outcome of an attempt that did not succeed: a retry, or the end of the job."""

import traceback

from libs.common.backoff import Backoff
from libs.common.errors import ArgosyError, Reject, Retry
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome
from libs.common.ledger.jobs import State
from libs.common.worker.job import storable

TRACEBACK_LIMIT = 8_000
"""Characters kept of a traceback: the last ones."""
MESSAGE_LIMIT = 2_000
"""Characters kept of an error's message."""


class TimedOut(ArgosyError):
    """The attempt took longer than the job allows."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The attempt took longer than {timeout_s:g} s.")


def outcome_of_failure(claim: Claim, error: BaseException, backoff: Backoff) -> Outcome:
    """The outcome after `error`. Reject fails the job at once; any other error is retried up to `max_attempts`.

    The delay is `Retry.after` if given, else that of `backoff`.
    """
    failures = claim.failures + 1
    retryable = not isinstance(error, Reject) and failures < claim.max_attempts
    document: dict[str, object] = {"retryable": retryable, "type": type(error).__qualname__}
    if isinstance(error, ArgosyError):
        document |= {"code": error.code, "message": storable(str(error))[:MESSAGE_LIMIT]}
    else:
        trace = storable("".join(traceback.format_exception(error)))[-TRACEBACK_LIMIT:]
        document |= {
            "code": "bug",
            "message": storable(f"{type(error).__name__}: {error}")[:MESSAGE_LIMIT],
            "traceback": trace,
        }
    if not retryable:
        return Outcome(claim.id, claim.attempt, State.FAILED, error=document, failed=True)
    requested_s = error.after if isinstance(error, Retry) else None
    delay_s = backoff.delay_s(failures) if requested_s is None else requested_s
    return Outcome(claim.id, claim.attempt, State.QUEUED, error=document, retry_in_s=delay_s, failed=True)


def cancelled(claim: Claim) -> Outcome:
    """The outcome after a requested cancel."""
    return Outcome(claim.id, claim.attempt, State.CANCELLED)


def released(claim: Claim) -> Outcome:
    """Back to the queue as if the attempt had not started. This does not count as a failure."""
    return Outcome(claim.id, claim.attempt, State.QUEUED)

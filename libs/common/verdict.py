"""What becomes of a job whose attempt did not succeed: another try, or the end."""

import traceback

from libs.common.backoff import full_jitter
from libs.common.errors import ArgosyError, Reject, Retry
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome
from libs.common.ledger.jobs import State

TRACEBACK_LIMIT = 8_000
"""Characters kept of a traceback, from its end."""


class TimedOut(ArgosyError):
    """The attempt took longer than the job allows."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The attempt took longer than {timeout_s:g} s.")


def verdict(claim: Claim, error: BaseException) -> Outcome:
    """Reject fails the job at once. Anything else is tried again, after a while, until no try is left."""
    failures = claim.failures + 1
    retryable = not isinstance(error, Reject) and failures < claim.max_attempts
    document: dict[str, object] = {"retryable": retryable}
    if isinstance(error, ArgosyError):
        document |= {"code": error.code, "message": _storable(str(error))}
    else:
        trace = _storable("".join(traceback.format_exception(error)))[-TRACEBACK_LIMIT:]
        document |= {
            "code": "bug",
            "message": _storable(f"{type(error).__name__}: {error}"),
            "traceback": trace,
        }
    if not retryable:
        return Outcome(claim.id, claim.attempt, State.FAILED, error=document, failed=True)
    asked = error.after if isinstance(error, Retry) else None
    delay = full_jitter(failures) if asked is None else asked
    return Outcome(claim.id, claim.attempt, State.QUEUED, error=document, retry_in_s=delay, failed=True)


def released(claim: Claim) -> Outcome:
    """Back to the queue, as if it had not been started: this costs no retry."""
    return Outcome(claim.id, claim.attempt, State.QUEUED)


def _storable(text: str) -> str:
    return text.replace("\x00", "")  # PostgreSQL's text has no NUL

"""The outcome of an attempt that did not succeed: a retry, a wait for a server, or the end of the job."""

import random
import time
import traceback

from libs.common.backoff import Backoff
from libs.common.errors import ArgosyError, Reject, Retry, Unavailable, storable, without_addresses
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome
from libs.common.ledger.jobs import State
from libs.common.redaction import redacted

TRACEBACK_LIMIT = 8_000
"""Characters kept of a traceback: the last ones."""
MESSAGE_LIMIT = 2_000
"""Characters kept of an error's message."""
BUG = "The worker met an error that nobody foresaw. It has been logged; admins see its traceback in `errors`."
OUTAGE_WAIT_S = 1.0
OUTAGE_WAIT_AT_MOST_S = 30.0
"""The shortest and the longest wait of a job for a server that is away, in seconds."""


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
        document |= {"code": error.code, "message": _told(str(error))[:MESSAGE_LIMIT]}
    else:
        trace = _told("".join(traceback.format_exception(error)))[-TRACEBACK_LIMIT:]
        document |= {
            "code": "bug",
            "message": BUG,
            "traceback": trace,
        }
    if not retryable:
        return Outcome(claim.id, claim.attempt, State.FAILED, error=document, failed=True)
    requested_s = error.after if isinstance(error, Retry) else None
    delay_s = backoff.delay_s(failures) if requested_s is None else requested_s
    return Outcome(claim.id, claim.attempt, State.QUEUED, error=document, retry_in_s=delay_s, failed=True)


def _told(text: str) -> str:
    """`text` as it may be stored and shown to the job's tenant, without passwords and addresses."""
    return redacted(without_addresses(storable(text)).encode()).decode()


def postponed(claim: Claim, error: Unavailable, wait_s: float) -> Outcome:
    """Back to the queue for `wait_s` seconds, because a server is away. This does not count as a failure."""
    document = {
        "retryable": True,
        "outage": True,
        "type": type(error).__qualname__,
        "code": error.code,
        "message": _told(error.told)[:MESSAGE_LIMIT],
    }
    return Outcome(claim.id, claim.attempt, State.QUEUED, error=document, retry_in_s=wait_s)


class Outages:
    """How long jobs wait for servers that are away: about as long as an outage has lasted, within two bounds."""

    def __init__(self) -> None:
        self._spans: dict[str, tuple[float, float]] = {}

    def wait_s(self, code: str) -> float:
        """Seconds to wait after one more error `code`: at random 50 to 100 % of the time since the first one.

        It is OUTAGE_WAIT_S at least, and OUTAGE_WAIT_AT_MOST_S at most. After a pause of twice the latter, a new
        outage begins.
        """
        now = time.monotonic()
        begun, last = self._spans.get(code, (now, now))
        if now - last > 2 * OUTAGE_WAIT_AT_MOST_S:
            begun = now
        self._spans[code] = (begun, now)
        longest = min(OUTAGE_WAIT_AT_MOST_S, max(2 * OUTAGE_WAIT_S, now - begun))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load and protects no secret


def cancelled(claim: Claim) -> Outcome:
    """The outcome after a requested cancel."""
    return Outcome(claim.id, claim.attempt, State.CANCELLED)


def released(claim: Claim) -> Outcome:
    """Back to the queue as if the attempt had not started. This does not count as a failure."""
    return Outcome(claim.id, claim.attempt, State.QUEUED)

"""The span of an attempt: which trace it is in.

Its parent is the request that submitted the job. Children of a small fan-out are in that trace too. A long
document would make a trace that nobody can use, so children of a large one have traces of their own, with a link
to where they came from. So has a retry by hand: it may be days later.
"""

from libs.common import tracing
from libs.common.backoff import until_available
from libs.common.contracts.ids import public_id
from libs.common.db import Database
from libs.common.errors import Unavailable
from libs.common.ledger import flows
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome
from libs.common.tracing import NO_SPAN, Kind, Place, Span

IN_ONE_TRACE = 50
"""The most children that are in the trace of their parent."""
LOOK_WITHIN_S = 1.0


async def begin(db: Database, queue: str, claimed: Claim) -> None:
    """Let the span of this attempt be that of the task, if its trace is sampled."""
    if claimed.trace is None or not tracing.is_sampled(claimed.trace):
        return
    origin = Place.of(claimed.trace)
    if claimed.parent is not None:
        origin = Place(origin.trace_id, tracing.span_id_of(claimed.parent))
    name, kind = f"{queue} process", Kind.CONSUMER
    if claimed.retried is not None or (claimed.parent and await _are_many(db, claimed)):
        span = tracing.own_trace(name, kind, link=origin)
    else:
        place = Place(origin.trace_id, tracing.new_span_id())
        span = Span(name, kind, place, parent_id=origin.span_id)
    span.set(
        queue=queue,
        job_id=public_id(claimed.id),
        kind=claimed.kind,
        attempt=claimed.attempt,
        waited_s=round(max(0.0, claimed.waited_s), 3),
    )
    tracing.enter(span)


def note(outcome: Outcome) -> None:
    """Add the outcome of the attempt to its span."""
    span = tracing.current()
    if span is not NO_SPAN:
        code = None if outcome.error is None else str(outcome.error["code"])
        span.set(outcome=outcome.state.value, error_code=code)
        span.failed = outcome.failed


async def _are_many(db: Database, claimed: Claim) -> bool:
    """Whether the job has so many siblings that each has a trace of its own. Asked for sampled traces only."""
    parent = claimed.parent
    assert parent is not None  # noqa: S101
    try:
        children = await until_available(lambda: flows.number_of_children(db, parent), patience_s=LOOK_WITHIN_S)
    except Unavailable:
        return True
    return children > IN_ONE_TRACE

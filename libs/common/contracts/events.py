"""Job events over core NATS, many per message. A loss does no harm: the ledger is read whenever it matters.

events.<queue>   from workers to gateways: a JSON list of `[job id in hex, state, progress]`; `state` is null
                 if only the progress has changed, `progress` is null if there is none
cancel.<queue>   from gateways to workers: a JSON list of what to stop: a job id in hex (the job is cancelled), or
                 `[job id in hex, attempt]` (that attempt is to give way to other tenants)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson


class Event(NamedTuple):
    """A change of a job. `job` is its id in hex."""

    job: str
    state: str | None
    progress: dict[str, Any] | None


def events_subject(queue: str) -> str:
    """The subject that the workers of `queue` publish events to; `*` for all queues."""
    return f"events.{queue}"


def cancel_subject(queue: str) -> str:
    """The subject on which the workers of `queue` receive cancels."""
    return f"cancel.{queue}"


def encode_events(events: Sequence[tuple[str, str | None, dict[str, Any] | None]]) -> bytes:
    """Encode a message for `events_subject`."""
    return orjson.dumps(events)


def decode_events(message: bytes) -> list[Event]:
    """Decode a message from `events_subject`. Raises ValueError."""
    try:
        return [Event(*item) for item in orjson.loads(message)]
    except TypeError as error:
        raise ValueError(f"not a list of events: {error}") from error


def encode_cancels(ids: Sequence[UUID]) -> bytes:
    """Encode a message for `cancel_subject` about jobs that are cancelled."""
    return orjson.dumps([job_id.hex for job_id in ids])


def encode_preemptions(attempts: Sequence[tuple[UUID, int]]) -> bytes:
    """Encode a message for `cancel_subject` about attempts that are to give way."""
    return orjson.dumps([(job_id.hex, attempt) for job_id, attempt in attempts])


def decode_stops(message: bytes) -> list[tuple[UUID, int | None]]:
    """Decode a message from `cancel_subject`: job id, and the attempt that gives way or None for a cancel.

    Raises ValueError.
    """
    try:
        return [_stop(item) for item in orjson.loads(message)]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a list of what to stop: {error}") from error


def _stop(item: Any) -> tuple[UUID, int | None]:
    if isinstance(item, list):
        job, attempt = item
        return UUID(hex=job), int(attempt)
    return UUID(hex=item), None

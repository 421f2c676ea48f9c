"""Job events over core NATS, many per message. A loss does no harm: the ledger is read whenever it matters.

events.<queue>   from workers to gateways: a JSON list of `[job id in hex, state, progress]`; `state` is null
                 if only the progress has changed, `progress` is null if there is none
cancel.<queue>   from gateways to workers: a JSON list of job ids in hex; a worker that runs one of them stops it
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
    """Encode a message for `cancel_subject`."""
    return orjson.dumps([job_id.hex for job_id in ids])


def decode_cancels(message: bytes) -> list[UUID]:
    """Decode a message from `cancel_subject`. Raises ValueError."""
    try:
        return [UUID(hex=job) for job in orjson.loads(message)]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a list of ids: {error}") from error

"""News of jobs over core NATS: many in a message, lost without harm. The ledger is asked when it matters.

events.<queue>   from workers to gateways: a JSON list of `[job id in hex, state, progress]`; `state` is null
                 where only the progress is new, `progress` null where there is none
cancel.<queue>   from gateways to workers: a JSON list of job ids in hex; whoever runs one of them stops it
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson


class Event(NamedTuple):
    """What happened to a job. `job` is its id in hex."""

    job: str
    state: str | None
    progress: dict[str, Any] | None


def events_subject(queue: str) -> str:
    """Where the workers of `queue` publish; `*` for all queues."""
    return f"events.{queue}"


def cancel_subject(queue: str) -> str:
    """Where the workers of `queue` listen."""
    return f"cancel.{queue}"


def encode_events(events: Sequence[tuple[str, str | None, dict[str, Any] | None]]) -> bytes:
    """A message for `events_subject`."""
    return orjson.dumps(events)


def decode_events(message: bytes) -> list[Event]:
    """What such a message says. Raises ValueError if it is none."""
    try:
        return [Event(*item) for item in orjson.loads(message)]
    except TypeError as error:
        raise ValueError(f"not a list of events: {error}") from error


def encode_cancels(ids: Sequence[UUID]) -> bytes:
    """A message for `cancel_subject`."""
    return orjson.dumps([job_id.hex for job_id in ids])


def decode_cancels(message: bytes) -> list[UUID]:
    """What such a message says. Raises ValueError if it is none."""
    try:
        return [UUID(hex=job) for job in orjson.loads(message)]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not a list of ids: {error}") from error

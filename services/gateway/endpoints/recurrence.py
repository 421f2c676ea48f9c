"""What a schedule's payload becomes."""

from typing import NamedTuple


class Recurrence(NamedTuple):
    """The jobs of a schedule."""

    kind: str
    payload: bytes
    unique_key: str | None = None
    """What all of them have, and a caller must not say otherwise; None: the schedule's own `unique_for`."""

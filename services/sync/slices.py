"""Slices of time: a run gives its slot up after a while, so that tenants take turns on it."""

import time

SLICE_S = 20.0


class Slice:
    """The time that a run may go on with."""

    def __init__(self, seconds: float = SLICE_S) -> None:
        self._until = time.monotonic() + seconds
        self._begun = False

    def over(self) -> bool:
        """Whether to stop here. Each slice has time for one step, so that every run ends."""
        if not self._begun:
            self._begun = True
            return False
        return time.monotonic() >= self._until

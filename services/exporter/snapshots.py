"""The snapshots that this process holds: while one is held, PostgreSQL keeps what it would clean up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from libs.common import metrics


class Snapshots:
    """Tells the age of the oldest as a metric."""

    def __init__(self) -> None:
        self._begun: set[float] = set()
        metrics.export_snapshot_age_seconds.set_function(self.oldest_s)

    @contextmanager
    def held(self) -> Iterator[None]:
        """One is held while the block runs."""
        begun = time.monotonic()
        self._begun.add(begun)
        try:
            yield
        finally:
            self._begun.discard(begun)

    def oldest_s(self) -> float:
        """The age of the oldest in seconds; 0 without one."""
        return time.monotonic() - min(self._begun) if self._begun else 0.0

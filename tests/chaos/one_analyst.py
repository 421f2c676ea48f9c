"""python -m tests.chaos.one_analyst POINT: works off the queue of analytics, and is killed at that point."""

from collections.abc import Callable
from typing import Any

from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.contracts.services import ANALYTICS
from libs.common.worker import effects
from libs.common.worker.lease import Lease
from services.analytics import counting, event_types, partitions, rollups, sketches
from services.analytics.config import Settings
from services.analytics.handler import handle, resources
from tests.chaos.dying import Point, main, succeeded


def _second_with_events() -> Callable[..., bool]:
    """A call that erases something, of which there has been one before."""
    calls = 0

    def is_second(_connection: Any, _tenant: str, gone: Any) -> bool:
        nonlocal calls
        calls += bool(gone)
        return calls == 2

    return is_second


POINTS = {
    "claimed": Point(event_types, "known"),
    "found the months that are kept": Point(partitions, "months_within"),
    "inserted": Point(counting, "_insert"),
    "added to rollups": Point(rollups, "add"),
    "added to sketches": Point(sketches, "add"),
    "ended, not committed": Point(effects, "finish_within"),
    "committed, not told": Point(Lease, "tell", succeeded),
    "erased one month of two": Point(rollups, "note_erased", _second_with_events()),
}


if __name__ == "__main__":
    main(ANALYTICS, POINTS, Settings, AnalyticsPayload, handle, resources)

"""python -m tests.chaos.one_analyst POINT: works off the queue of analytics, and is killed at that point."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from libs.common import bus, db, log
from libs.common.blobs import Blobs
from libs.common.config import load
from libs.common.contracts.analytics import AnalyticsPayload
from libs.common.contracts.services import ANALYTICS
from libs.common.handler_testkit import drain
from libs.common.worker import effects
from libs.common.worker.lease import Lease
from libs.common.worker.service import Platform
from services.analytics import counting, event_types, partitions, rollups, sketches
from services.analytics.config import Settings
from services.analytics.handler import handle, resources
from tests.chaos.dying import Point, die_at, succeeded


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


async def main(point: str) -> None:
    """Work until there is nothing left to do, or until the point."""
    die_at(POINTS[point])
    settings = load(Settings)
    async with (
        db.connect(settings, "analytics", role=ANALYTICS.role) as database,
        bus.connect(settings, "analytics") as conveyor,
        resources(settings, Platform(database, Blobs(settings))) as deps,
    ):
        await drain(database, conveyor, "analytics", AnalyticsPayload, handle, deps)


if __name__ == "__main__":
    log.setup("analytics")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))

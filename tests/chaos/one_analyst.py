"""python -m tests.chaos.one_analyst POINT: works off the queue of analytics, and is killed at that point."""

import asyncio
import os
import signal
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

Call = Callable[..., bool]
"""Whether a call with these arguments is the point."""


def _always(*_args: Any, **_kwargs: Any) -> bool:
    return True


def _succeeded(_lease: Lease, events: Any) -> bool:
    return any(state == "succeeded" for _, state, _ in events)


def _second_with_events() -> Call:
    calls = 0

    def is_second(_connection: Any, _tenant: str, gone: Any) -> bool:
        nonlocal calls
        calls += bool(gone)
        return calls == 2

    return is_second


POINTS: dict[str, tuple[Any, str, Call]] = {
    "claimed": (event_types, "known", _always),
    "found the months that are kept": (partitions, "months_within", _always),
    "inserted": (counting, "_insert", _always),
    "added to rollups": (rollups, "add", _always),
    "added to sketches": (sketches, "add", _always),
    "ended, not committed": (effects, "finish_within", _always),
    "committed, not told": (Lease, "tell", _succeeded),
    "erased one month of two": (rollups, "note_erased", _second_with_events()),
}
"""After a call of which function, and of which calls."""


def _die_at(point: str) -> None:
    place, name, is_it = POINTS[point]
    original = getattr(place, name)

    async def dying(*args: Any, **kwargs: Any) -> Any:
        found = await original(*args, **kwargs)
        if is_it(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, name, dying)


async def main(point: str) -> None:
    """Work until there is nothing left to do, or until the point."""
    _die_at(point)
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

"""python -m tests.chaos.one_syncer POINT: works off the queue of sync, and is killed at that point."""

import asyncio
import os
import signal
import sys
from typing import Any

import uvloop

from libs.common import bus, db, log
from libs.common.blobs import Blobs
from libs.common.config import load
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import SyncPayload
from libs.common.handler_testkit import drain
from libs.common.worker.lease import Lease
from libs.common.worker.service import Platform
from services.sync import page_writing, running, runs
from services.sync.config import Settings
from services.sync.fetching import Fetcher
from services.sync.handler import handle, resources
from services.sync.outgoing import Outgoing

POINTS: dict[str, tuple[Any, str, bool]] = {
    "source taken": (runs, "begin", False),
    "headers received": (Outgoing, "_save", True),
    "body on disk": (Outgoing, "ask", False),
    "page read": (Fetcher, "fetch", False),
    "before the page's commit": (page_writing, "_write", False),
    "after the page's commit": (running, "write_page", False),
    "between the last page and the end": (running.Runner, "_mark_gone", False),
    "within the end's transaction": (runs, "_end", False),
    "committed, not told": (Lease, "tell", False),
}
"""At which function: when it is called, or when it has returned."""


def _die_at(point: str) -> None:
    place, name, at_once = POINTS[point]
    original = getattr(place, name)

    async def dying(*args: Any, **kwargs: Any) -> Any:
        found = None if at_once else await original(*args, **kwargs)
        if name != "tell" or any(state == "succeeded" for _, state, _ in args[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, name, dying)


async def main(point: str) -> None:
    """Work until there is nothing left to do, or until the point."""
    _die_at(point)
    settings = load(Settings)
    async with (
        db.connect(settings, SYNC.name, role=SYNC.role) as database,
        bus.connect(settings, SYNC.name) as conveyor,
        resources(settings, Platform(database, Blobs(settings))) as deps,
    ):
        await drain(database, conveyor, SYNC.name, SyncPayload, handle, deps)


if __name__ == "__main__":
    log.setup(SYNC.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))

"""python -m tests.chaos.one_syncer POINT: works off the queue of sync, and is killed at that point."""

import asyncio
import sys

import uvloop

from libs.common import bus, db, log
from libs.common.blobs import Blobs
from libs.common.config import load
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import SyncPayload
from libs.common.handler_testkit import drain
from libs.common.worker import effects
from libs.common.worker.lease import Lease
from libs.common.worker.service import Platform
from services.sync import page_writing, running, runs, search_letters, searches
from services.sync.config import Settings
from services.sync.fetching import Fetcher
from services.sync.handler import handle, resources
from services.sync.outgoing import Outgoing
from tests.chaos.dying import Point, die_at, succeeded

POINTS = {
    "source taken": Point(runs, "begin"),
    "headers received": Point(Outgoing, "_save", at_once=True),
    "body on disk": Point(Outgoing, "ask"),
    "page read": Point(Fetcher, "fetch"),
    "before the page's commit": Point(page_writing, "_write"),
    "after the page's commit": Point(running, "write_page"),
    "between the last page and the end": Point(running.Runner, "_mark_gone"),
    "within the end's transaction": Point(runs, "_end"),
    "committed, not told": Point(Lease, "tell", succeeded),
}


OF_SEARCHES = {
    "search loaded": Point(searches, "load"),
    "news found": Point(search_letters, "_news"),
    "place moved": Point(searches, "move"),
    "letter made": Point(search_letters, "_enqueue"),
    "ended, not committed": Point(effects, "finish_within"),
    "letter committed, not told": Point(Lease, "tell", succeeded),
}


async def main(point: str) -> None:
    """Work until there is nothing left to do, or until the point."""
    die_at((POINTS | OF_SEARCHES)[point])
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

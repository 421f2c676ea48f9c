"""python -m tests.chaos.one_syncer POINT: works off the queue of sync, and is killed at that point."""

from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import SyncPayload
from libs.common.worker import effects
from libs.common.worker.lease import Lease
from services.sync import page_writing, running, runs, search_letters, searches
from services.sync.config import Settings
from services.sync.fetching import Fetcher
from services.sync.handler import handle, resources
from services.sync.outgoing import Outgoing
from tests.chaos.dying import Point, main, succeeded

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


if __name__ == "__main__":
    main(SYNC, POINTS | OF_SEARCHES, Settings, SyncPayload, handle, resources)

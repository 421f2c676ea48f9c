"""`make load`: work of all kinds for the fleet on this machine, so that there is something to see on boards.

It stays within the limits of one key, and calls too often on purpose now and then: refusals are to be seen too.
Its source and its schedule are removed at the end; what else it makes stays, as all that the tenant `dev` has.
"""

import io
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from deploy.local import state, supervisor
from deploy.local.calls import Refused, asked, opened
from deploy.local.errors import CannotRun
from deploy.local.state import State
from deploy.local.table import table
from services.sync.config import parse_networks

NAME = "load"
"""Of the source, the schedule and the events that it makes."""
HERE = "127.0.0.1"
RECORDS = 20
RUNS_END_WITHIN_S = 60.0
TOO_OFTEN = 45
"""Calls at once: more than the limit `burst` has in a second."""


@dataclass
class Load:
    """What is done to a fleet, and what has become of it, by kind."""

    fleet: State
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def once(self, kind: str, work: "Work") -> None:
        """Do a piece of work, and note how it went."""
        try:
            self.done[kind] += work(self)
        except Refused as refusal:
            self.refused[kind] += refusal.status == HTTPStatus.TOO_MANY_REQUESTS
            if refusal.status != HTTPStatus.TOO_MANY_REQUESTS:
                self.failed[kind] = str(refusal)
        except CannotRun as trouble:
            self.failed[kind] = str(trouble)


Work = Callable[[Load], int]
"""Does something, and says how many. Raises CannotRun."""


def _documents(load: Load) -> int:
    page = Image.new("L", (800, 200), "white")
    words = (
        f"Cargo number {next(load.numbers)} of {uuid.uuid4().hex[:8]}"  # pages that are known are not read again
    )
    ImageDraw.Draw(page).text((40, 80), words, fill=0, font=ImageFont.load_default(size=32))
    scan = io.BytesIO()
    page.save(scan, "PDF")
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="cargo.pdf"\r\n\r\n'
    content = head.encode() + scan.getvalue() + f"\r\n--{boundary}--\r\n".encode()
    opened(load.fleet, "/v1/ocr", content, f"multipart/form-data; boundary={boundary}").close()
    return 1


def _letters(load: Load) -> int:
    number = next(load.numbers)
    recipients = [{"to": f"reader-{number}-{one}@example.com"} for one in range(5)]
    letter = {"from": "office@example.com", "subject": f"Cargo {number}", "text": "It is in."}
    asked(load.fleet, "/v1/mail", {**letter, "recipients": recipients})
    return len(recipients)


def _events(load: Load) -> int:
    now = datetime.now(UTC).isoformat()
    events: list[dict[str, Any]] = [
        {"id": uuid.uuid4().hex, "name": NAME, "time": now, "subject": f"u{one}", "properties": {"page": "/cargo"}}
        for one in range(20)
    ]
    twice, wrong = events[0], {"id": uuid.uuid4().hex, "name": "No name", "time": now}
    asked(load.fleet, "/v1/events", {"events": [*events, twice, wrong]})
    return len(events) + 2


def _questions(load: Load) -> int:
    today = datetime.now(UTC).date()
    span = {"from": f"{today}", "to": f"{today + timedelta(days=1)}"}
    for measure in ("count", "uniques"):
        asked(load.fleet, "/v1/analytics/query", {"event": NAME, "by": "total", "measure": measure, **span})
    return 2


def _reports(load: Load) -> int:
    today = datetime.now(UTC).date()
    span = {"from": f"{today}", "to": f"{today + timedelta(days=1)}"}
    asked(load.fleet, "/v1/analytics/reports", {"report": "funnel", "steps": [NAME, NAME], "within_s": 60, **span})
    return 1


def _runs(load: Load) -> int:
    asked(load.fleet, "/v1/sync", {"source": NAME})
    return 1


def _searches(load: Load) -> int:
    for order in ("closes", "newest", "relevance"):
        asked(load.fleet, f"/v1/opportunities?q=cargo&order={order}")
    return 3


def _exports(load: Load) -> int:
    job = asked(load.fleet, "/v1/exports", {"dataset": "jobs", "format": "csv"}, wait_s=20)
    if job["state"] != "succeeded":
        raise CannotRun(f"The export is {job['state']}")
    file = job["artifacts"][0]
    opened(load.fleet, file["url"]).close()
    link = asked(load.fleet, f"{file['url']}/link", {}, method="POST")
    opened(load.fleet, "/v1/download/" + link["url"].rpartition("/")[2]).close()
    return 1


def _status(load: Load) -> int:
    asked(load.fleet, "/v1/jobs?limit=5")
    return 1


def _too_often(load: Load) -> int:
    for _ in range(TOO_OFTEN):
        asked(load.fleet, "/v1/limits")
    return TOO_OFTEN


KINDS: dict[str, tuple[float, Work]] = {
    "documents": (10, _documents),
    "recipients": (8, _letters),
    "events": (1, _events),
    "questions about events": (4, _questions),
    "reports": (25, _reports),
    "runs of a source": (12, _runs),
    "searches": (8, _searches),
    "exports": (20, _exports),
    "lists of jobs": (5, _status),
    "calls too often": (30, _too_often),
}
"""Each kind of work, and after how many seconds it is done again."""


def load(seconds: float) -> None:
    """Work for so long, then tell what was done. Raises CannotRun."""
    supervisor.need()
    work = Load(state.load())
    if not _may_call_this_machine(work.fleet):
        raise CannotRun(
            "The sources of make load are on this machine. Allow that: SYNC_ALLOWED_NETWORKS=127.0.0.0/8 make up"
        )
    with _listings() as url, _source(work.fleet, url), _schedule(work.fleet):
        print(f"At work for {seconds:.0f} s …", flush=True)
        stop = threading.Event()
        with ThreadPoolExecutor(len(KINDS)) as beside:
            at_work = [beside.submit(_again_and_again, work, kind, stop) for kind in KINDS]
            try:
                time.sleep(seconds)
            finally:
                stop.set()
        for kind in at_work:
            kind.result()
    rows = [(kind, f"{work.done[kind]:,}", f"{work.refused[kind]:,}", work.failed.get(kind, "")) for kind in KINDS]
    print(table(("work", "done", "refused", "failed"), rows))


def _again_and_again(work: Load, kind: str, stop: threading.Event) -> None:
    every_s, once = KINDS[kind]
    while not stop.is_set():
        work.once(kind, once)
        stop.wait(every_s)


def _may_call_this_machine(fleet: State) -> bool:
    allowed = parse_networks(fleet.settings.get("SYNC_ALLOWED_NETWORKS", ""))
    return any(ip_address(HERE) in network for network in allowed)


@contextmanager
def _source(fleet: State, url: str) -> Iterator[None]:
    """With a source that reads `url`. Raises CannotRun."""
    mapping = {"records": "cargo", "key": "id", "title": "title", "closes_at": "closes"}
    source = {"url": url, "format": "json", "mapping": mapping, "min_interval_s": 1, "complete": True}
    asked(fleet, f"/v1/sources/{NAME}", source, method="PUT")
    try:
        yield
    finally:
        _remove_source(fleet)


def _remove_source(fleet: State) -> None:
    """Remove it when its last run has ended. Raises CannotRun."""
    until = time.monotonic() + RUNS_END_WITHIN_S
    while True:
        try:
            asked(fleet, f"/v1/sources/{NAME}", method="DELETE")
            return
        except Refused as refusal:
            if refusal.status != HTTPStatus.CONFLICT or time.monotonic() > until:
                raise
        time.sleep(1)


@contextmanager
def _schedule(fleet: State) -> Iterator[None]:
    """With a schedule that runs the source when the next minute begins. Raises CannotRun."""
    next_minute = datetime.now(UTC) + timedelta(minutes=1)  # and no other: it is left behind if we are killed
    schedule = {"name": f"{NAME} {uuid.uuid4().hex[:6]}", "queue": "sync", "payload": {"source": NAME}}
    made = asked(
        fleet, "/v1/schedules", {**schedule, "cron": f"{next_minute:%-M %-H %-d %-m} *", "timezone": "UTC"}
    )
    try:
        yield
    finally:
        asked(fleet, f"/v1/schedules/{made['id']}", method="DELETE")


@contextmanager
def _listings() -> Iterator[str]:
    """The address of a source here, whose records change from one answer to the next."""
    answers = itertools.count()

    class Listing(BaseHTTPRequestHandler):
        """Twenty records: one is new and one has changed each time."""

        def do_GET(self) -> None:
            turn = next(answers)
            closes = datetime.now(UTC) + timedelta(days=30, minutes=turn)
            cargo = [
                {"id": f"{one}", "title": f"Cargo {one}", "closes": closes.isoformat() if one == turn else None}
                for one in range(turn, turn + RECORDS)
            ]
            content = json.dumps({"cargo": cargo}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HERE, 0), Listing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HERE}:{server.server_port}/cargo.json"
        server.shutdown()

"""`make boards-check`: every panel of the boards has data while the fleet on this machine works.

PICTURES=folder draws what they show, too.

A query may be right, and its metric exported, and yet nothing comes of it: a label that is never set, two sides
that do not match. Only Prometheus can tell.
"""

import json
import math
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from deploy.grafana.boards import OF_THE_FLEET
from deploy.grafana.panels import Board, Panel
from deploy.local import board_pictures, monitor, supervisor
from deploy.local.errors import CannotRun
from deploy.local.load import load
from deploy.local.state import RUN

SETTLED_S = 10.0
"""Seconds before the load that a picture shows too."""


@dataclass(frozen=True)
class Finding:
    """What a panel shows: whether there is anything, and whether all of it was measured."""

    board: Board
    panel: Panel
    shows: bool
    measured: bool

    def __str__(self) -> str:
        return f"{self.board.title} / {self.panel.title}"


def boards_check(seconds: float, pictures: Path | None) -> None:
    """Watch the fleet, work for so long, and ask all that the boards ask. Raises CannotRun.

    What they show is drawn into the folder `pictures`, if there is one.
    """
    supervisor.need()
    with (
        TemporaryDirectory(dir=RUN) as folder,
        monitor.watching(Path(folder)) as addresses,
        ThreadPoolExecutor(1) as beside,
    ):
        stop = threading.Event()
        watching = beside.submit(monitor.keep_targets, Path(folder), stop)
        try:
            load(seconds)
        finally:
            stop.set()
        watching.result()
        findings = list(found(addresses["prometheus"]))
        if pictures:
            pages = board_pictures.draw(addresses["prometheus"], OF_THE_FLEET, pictures, seconds + SETTLED_S)
            print("Pictures:", *pages, sep="\n  ")
    quiet = [one for one in findings if one.shows and not one.measured]
    print(f"{sum(one.shows for one in findings)} of {len(findings)} panels have data.")
    if quiet:
        print("\n  ".join(["Of these 0 is shown because nothing of the kind has happened:", *map(str, quiet)]))
    if empty := [str(one) for one in findings if not one.shows]:
        raise CannotRun("\n  ".join(["These have no data:", *empty]))


def found(prometheus: str) -> Iterator[Finding]:
    """What each panel shows now, by the Prometheus at that address."""
    for board in OF_THE_FLEET:
        for panel in board.panels:
            shows = all(answer(prometheus, query.promql) for query in panel.queries)
            yield Finding(board, panel, shows, all(answer(prometheus, query.measured) for query in panel.queries))


def answer(prometheus: str, query: str) -> list[float]:
    """The values of a query of a board. A division by nothing is none."""
    asked = urlencode({"query": board_pictures.chosen(query)})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{asked}") as told:  # noqa: S310
        values = [float(series["value"][1]) for series in json.load(told)["data"]["result"]]
    return [value for value in values if not math.isnan(value)]

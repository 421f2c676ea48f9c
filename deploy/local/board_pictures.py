"""Draws the boards, as far as that goes without a Grafana: pictures of what their queries have answered."""

import json
import math
import textwrap
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from deploy.grafana.panels import Board, Kind, Panel, Query, Unit
from deploy.local import monitor

POINTS = 60
"""How many values of a series a picture has."""
COLUMNS = 3
Points = list[tuple[float, float]]
"""Moments in seconds since the beginning, and the values then."""

_INCHES_WIDE, _INCHES_HIGH = 6, 3.6
_LEGENDS_AT_MOST = 8
_CHOSEN = {"$namespace": monitor.NAMESPACE, "$queue": ".+", "$__rate_interval": "1m"}
_SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"))
_SUFFIXES = {
    Unit.SECONDS: "s",
    Unit.BYTES: "B",
    Unit.BYTES_PER_SECOND: "B/s",
    Unit.PER_SECOND: "/s",
    Unit.REQUESTS_PER_SECOND: "/s",
    Unit.DAYS: "d",
}


def chosen(query: str) -> str:
    """The query, with what is chosen at the top of a board."""
    for name, value in _CHOSEN.items():
        query = query.replace(name, value)
    return query


def draw(prometheus: str, boards: Sequence[Board], folder: Path, seconds: float) -> list[Path]:
    """Write a picture of each board, of the last `seconds` by the Prometheus at that address."""
    folder.mkdir(parents=True, exist_ok=True)
    end = time.time()
    return [_drawn(prometheus, board, folder / f"{board.name}.png", end - seconds, end) for board in boards]


def _drawn(prometheus: str, board: Board, picture: Path, begin: float, end: float) -> Path:
    panels = list(board.panels)
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * _INCHES_WIDE, rows * _INCHES_HIGH), layout="constrained")
    figure.suptitle(f"{board.title}: {board.description}", fontsize=16)
    places = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for place, panel in zip(places, panels, strict=False):
        _plot(place, panel, _series(prometheus, panel, begin, end))
    for place in places[len(panels) :]:
        place.set_axis_off()
    figure.savefig(picture, dpi=60)
    return picture


def _series(prometheus: str, panel: Panel, begin: float, end: float) -> dict[str, Points]:
    """What the panel's queries answer, by legend."""
    return {
        legend: points for query in panel.queries for legend, points in _answered(prometheus, query, begin, end)
    }


def _answered(prometheus: str, query: Query, begin: float, end: float) -> Iterator[tuple[str, Points]]:
    step = max(1.0, (end - begin) / POINTS)
    parameters = {"query": chosen(query.promql), "start": begin, "end": end, "step": step}
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{urlencode(parameters)}") as told:  # noqa: S310
        for series in json.load(told)["data"]["result"]:
            values = [(at - begin, float(value)) for at, value in series["values"]]
            yield _legend(query, series["metric"]), [pair for pair in values if math.isfinite(pair[1])]


def _legend(query: Query, labels: dict[str, str]) -> str:
    """As Grafana writes it: `{{queue}} busy` with the label's value."""
    legend = query.legend
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", value)
    return legend


def _plot(place: Axes, panel: Panel, series: dict[str, Points]) -> None:
    place.set_title(panel.title, fontsize=13)
    place.set_xlabel(textwrap.fill(panel.description, 70), fontsize=9)
    last = {legend: points[-1][1] for legend, points in sorted(series.items()) if points}
    if panel.kind is Kind.NUMBER or not last:
        text = readable(next(iter(last.values())), panel.unit) if last else "no data"
        place.text(0.5, 0.5, text, ha="center", va="center", fontsize=30, transform=place.transAxes)
        place.set(xticks=(), yticks=())
        return
    for legend in last:
        place.plot(*zip(*series[legend], strict=True), label=legend or panel.title)
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value, panel.unit)))
    place.set_ylim(bottom=min(0.0, *(value for points in series.values() for _, value in points)))
    if len(last) <= _LEGENDS_AT_MOST:
        place.legend(fontsize=8)


def readable(value: float, unit: Unit) -> str:
    """The value in three digits with its unit, such as `12.3 ms`."""
    if unit is Unit.SHARE:
        return f"{value:.2%}"
    smallest = 1 if unit is Unit.COUNT else 0
    fitting = ((size, prefix) for size, prefix in _SIZES if abs(value) >= size >= smallest)
    size, prefix = next(fitting, (1, ""))
    return f"{value / size:.3g} {prefix}{_SUFFIXES.get(unit, '')}".rstrip()

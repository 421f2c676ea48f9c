"""What boards are made of, without a word of Grafana's.

A query is written without its namespace, as `argosy_jobs_fenced_total{}`: every selector is given the one that is
chosen at the top of the board.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

NAMESPACE = 'namespace="$namespace"'
QUIET = "none"
"""What the legend says while nothing of the kind has happened."""


class Unit(Enum):
    """Units of Grafana that the boards use, by Grafana's ids."""

    COUNT = "short"
    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    PER_SECOND = "ops"
    REQUESTS_PER_SECOND = "reqps"
    DAYS = "d"


class Kind(Enum):
    """How a panel looks, with its width and height on a grid of 24 columns."""

    NUMBER = (4, 4)
    LINES = (8, 8)
    WORDS = (12, 8)


@dataclass(frozen=True)
class Query:
    """PromQL, with the legend of its series. If `quiet`, no series means that nothing has happened: 0 is shown."""

    expression: str
    legend: str = ""
    quiet: bool = False

    @property
    def measured(self) -> str:
        """What was measured in the namespace that is chosen."""
        return re.sub(r"\{(?=(\}?))", lambda brace: f"{{{NAMESPACE}" + ("" if brace[1] else ","), self.expression)

    @property
    def promql(self) -> str:
        """What Grafana asks."""
        if not self.quiet:
            return self.measured
        label = re.search(r"{{(\w+)}}", self.legend)
        nothing = f'label_replace(vector(0), "{label[1]}", "{QUIET}", "", "")' if label else "vector(0)"
        return f"{self.measured} or on () {nothing}"


@dataclass(frozen=True)
class Panel:
    """A picture of queries that have one unit, or words. `alerts`: those that lead here.

    `alarming_from` and `good_from` say from which value on a number is red, or no longer red.
    """

    title: str
    description: str
    kind: Kind
    unit: Unit = Unit.COUNT
    queries: tuple[Query, ...] = ()
    alerts: tuple[str, ...] = ()
    alarming_from: float | None = None
    good_from: float | None = None
    words: str = ""

    @property
    def number(self) -> int:
        """Grafana's id of the panel. It follows from the title, so that links outlive a new neighbour."""
        return _number_of(self.title)


@dataclass(frozen=True)
class Row:
    """Panels beside each other under a heading."""

    title: str
    panels: tuple[Panel, ...]

    @property
    def number(self) -> int:
        """Grafana's id of the row, as that of a panel."""
        return _number_of(f"row {self.title}")


@dataclass(frozen=True)
class Board:
    """A dashboard. `by_queue`: queues can be chosen at its top, as `queue=~"$queue"` in queries."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    by_queue: bool = False

    @property
    def uid(self) -> str:
        """Grafana's id of the board, which never changes."""
        return f"argosy-{self.name}"

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them, from the top."""
        return (panel for row in self.rows for panel in row.panels)

    def path_to(self, panel: Panel) -> str:
        """Where one panel is, under Grafana's own address."""
        return f"/d/{self.uid}?viewPanel={panel.number}"


def _number_of(title: str) -> int:
    return crc32(title.encode()) % 1_000_000


def number(
    title: str,
    unit: Unit,
    expression: str,
    description: str,
    *,
    alerts: tuple[str, ...] = (),
    alarming_from: float | None = None,
    good_from: float | None = None,
    quiet: bool = False,
) -> Panel:
    """The value of now, in large digits."""
    query = Query(expression, quiet=quiet)
    return Panel(title, description, Kind.NUMBER, unit, (query,), alerts, alarming_from, good_from)


def lines(title: str, unit: Unit, description: str, *queries: Query, alerts: tuple[str, ...] = ()) -> Panel:
    """Values over time."""
    return Panel(title, description, Kind.LINES, unit, queries, alerts)


def quantile(share: float, metric: str, by: str = "", selector: str = "", *, legend: str = "") -> Query:
    """The value that `share` of the observations of a histogram do not exceed, by a label if one is given."""
    labels = f"le, {by}" if by else "le"
    rates = f"sum by ({labels}) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return Query(f"histogram_quantile({share}, {rates})", legend or (f"{{{{{by}}}}}" if by else ""))


def percentiles(metric: str, by: str = "", selector: str = "") -> tuple[Query, ...]:
    """p50, p95 and p99 of a histogram, by a label if one is given."""
    series = f"{{{{{by}}}}} " if by else ""
    return tuple(
        quantile(share, metric, by, selector, legend=f"{series}p{int(share * 100)}") for share in (0.5, 0.95, 0.99)
    )


def per_second(metric: str, by: str, selector: str = "", *, quiet: bool = False) -> Query:
    """How fast a counter grows, by labels such as `queue, outcome`."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Query(f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))", legend, quiet)

"""Boards show what there is, all of it, and each alert leads to a panel that shows it."""

import re
from collections import Counter

import prometheus_client
import pytest

from deploy.grafana.alerts import alerts, groups
from deploy.grafana.boards import BOARDS, OF_THE_FLEET
from deploy.grafana.boards.kubernetes import KUBERNETES
from deploy.grafana.panels import Board, Kind, Panel, Query
from libs.common import metrics
from libs.common.contracts.services import QUEUES

SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
FROM_PROMETHEUS = {"up", "ALERTS"}
OF_THE_PLATFORM = re.compile(r"kube_(pod|deployment|horizontalpodautoscaler)_\w+|container_(cpu|memory)_\w+")
ON_NO_BOARD: dict[str, str] = {}
"""Metrics that need no panel, and why not."""
PANELS = [(board, panel) for board in BOARDS for panel in board.panels]


def title_of(value: object) -> str:
    return f"{value.name}" if isinstance(value, Board) else f"{value.title}" if isinstance(value, Panel) else ""


def exported() -> dict[str, set[str]]:
    """The series that processes export, by metric."""
    assert metrics.jobs_accepted  # importing it is what registers them
    families = prometheus_client.REGISTRY.collect()
    return {family.name: {family.name + end for end in SAMPLES.get(family.type, ())} for family in families}


def recorded() -> set[str]:
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def series_in(expression: str) -> set[str]:
    return set(re.findall(r"([a-zA-Z_:][\w:]*)\s*\{", expression))


def queries(*boards: Board) -> list[Query]:
    return [query for board in boards for panel in board.panels for query in panel.queries]


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=title_of)
def test_a_panel_says_what_it_shows(board: Board, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith((".", "?"))
    assert bool(panel.queries) != bool(panel.words)
    assert len({query.legend for query in panel.queries}) == len(panel.queries)
    assert len(panel.queries) <= 1 or panel.kind is Kind.LINES


@pytest.mark.parametrize("query", queries(*BOARDS), ids=lambda query: query.expression[:60])
def test_a_query_is_about_one_fleet(query: Query) -> None:
    selectors = re.findall(r"{[^{}]*}", query.measured)
    assert selectors
    for selector in selectors:
        assert selector.startswith('{namespace="$namespace"'), query.measured
    bare = re.sub(r"{[^{}]*}|\"[^\"]*\"", "{}", query.measured)
    for name in re.findall(r"\b(?:argosy|process|kube|container)[_:][\w:]*", bare):
        assert f"{name}{{}}" in bare, f"{name} has no selector"
    assert set(re.findall(r"\$(\w+)", query.promql)) <= {"namespace", "queue", "__rate_interval", "1"}


def test_queries_read_what_is_exported_or_recorded() -> None:
    known = set[str]().union(*exported().values()) | recorded() | FROM_PROMETHEUS
    read = set[str]().union(*(series_in(query.promql) for query in queries(*OF_THE_FLEET)))
    assert len(read) > 50
    assert read - known == set()
    of_the_platform = set[str]().union(*(series_in(query.promql) for query in queries(KUBERNETES)))
    assert [name for name in of_the_platform if not OF_THE_PLATFORM.fullmatch(name)] == []


def test_every_metric_is_on_a_board() -> None:
    on_boards = set[str]().union(*(series_in(query.promql) for query in queries(*OF_THE_FLEET)))
    for group in groups():  # what a recording rule reads is on a board with what it records
        for rule in group["rules"]:
            if rule.get("record") in on_boards:
                on_boards |= set(re.findall(r"\bargosy_\w+", rule["expr"]))
    ours = {name: series for name, series in exported().items() if name.startswith("argosy_")}
    assert len(ours) > 50
    missing = {name for name, series in ours.items() if not series & on_boards}
    assert missing == set(ON_NO_BOARD), "put it on a board, or say in ON_NO_BOARD why it needs none"


def test_nothing_has_the_same_id() -> None:
    assert max(Counter(board.uid for board in BOARDS).values()) == 1
    for board in BOARDS:
        numbers = [row.number for row in board.rows] + [panel.number for panel in board.panels]
        assert max(Counter(numbers).values()) == 1, board.name
        assert max(Counter(panel.title for panel in board.panels).values()) == 1


def test_every_queue_has_a_board() -> None:
    shown = {
        queue
        for board in OF_THE_FLEET
        for row in board.rows
        if row.title == "Jobs"
        for queue in re.findall(r'queue="(\w+)"', row.panels[0].queries[0].promql)
    }
    assert shown == set(QUEUES)


def test_a_queue_can_be_chosen_where_queries_ask_for_it() -> None:
    for board in BOARDS:
        assert board.by_queue == any("$queue" in query.promql for query in queries(board))


def test_every_alert_leads_to_a_panel_that_shows_it() -> None:
    leads = {name: (board, panel) for board, panel in PANELS for name in panel.alerts}
    assert sum(len(panel.alerts) for _, panel in PANELS) == len(leads), "an alert has one panel"
    assert leads.keys() == {alert.name for alert in alerts()}
    for alert in alerts():
        board, panel = leads[alert.name]
        path, *chosen = alert.dashboard.split("&")
        assert path == board.path_to(panel), f"{alert.name}: dashboard"
        labels = set(re.findall(r"var-(\w+)={{ \$labels\.(\w+) }}", "&".join(chosen)))
        assert len(labels) == len(chosen)
        assert labels <= {("namespace", "namespace"), ("queue", "queue")}
        # What is absent has no namespace.
        assert (("namespace", "namespace") in labels) == ("absent(" not in alert.expression)


def test_an_alert_is_about_what_its_panel_shows() -> None:
    raw = {rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule}
    for alert in alerts():
        (panel,) = (panel for _, panel in PANELS if alert.name in panel.alerts)
        shown = " ".join(query.promql for query in panel.queries)
        alarming = re.findall(r"\bargosy[_:][\w:]+|\bup\b", alert.expression)
        related = {*alarming, *(name for one in alarming for name in re.findall(r"argosy_\w+", raw.get(one, "")))}
        assert any(name in shown for name in related), alert.name

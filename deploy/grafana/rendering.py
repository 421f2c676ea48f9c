"""Makes Grafana's JSON of a board. No other module knows Grafana's words."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.text import TextMode

from deploy.grafana.boards.runbooks import RUNBOOKS
from deploy.grafana.panels import NAMESPACE, Board, Kind, Panel, Query, Row

TAG = "argosy"
COLUMNS = 24
SOURCE = DataSourceRef("prometheus", "$datasource")
NAMED_BY = "argosy_queue_paused"
"""Its labels are the namespaces and queues that there are: every gateway has it from its start."""
DEPLOYS = Query(
    "count by (version, commit) (argosy_build_info{})"
    " unless count by (version, commit) (argosy_build_info{} offset 2m)"
)
GREEN, RED = "green", "red"


def to_json(board: Board) -> str:
    """The dashboard as Grafana reads it, in lines: `make deploy` shows those that change."""
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG])
    made = made.readonly().timezone("browser").time("now-3h", "now").refresh("30s")
    made = made.tooltip(DashboardCursorSync.CROSSHAIR).link(_to_the_others())
    if _reads_metrics(board):
        made = made.annotation(_deploys())
    for variable in _variables(board):
        made = made.with_variable(variable)
    top = 0
    for row in board.rows:
        heading = dashboard.Row(row.title).id(row.number).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=top))
        made = made.with_row(heading)
        for panel, place in places(row, top + 1):
            made = made.with_panel(_panel(panel).id(panel.number).grid_pos(place))
            top = max(top, place.y + place.h)
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build())


def places(row: Row, top: int) -> Iterator[tuple[Panel, GridPos]]:
    """Each panel of a row and its place: side by side, and below where there is no room or the height changes."""
    left, height = 0, 0
    for panel in row.panels:
        width, its_height = panel.kind.value
        if left + width > COLUMNS or (height and its_height != height):
            left, top = 0, top + height
        height = its_height
        yield panel, GridPos(h=height, w=width, x=left, y=top)
        left += width


def _to_the_others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Argosy").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).keep_time(True).include_vars(True)


def _variables(board: Board) -> Iterator[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    if not _reads_metrics(board):
        return
    yield dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    yield _chosen("namespace", f"label_values({NAMED_BY}, namespace)").label("Namespace")
    if board.by_queue:
        queues = _chosen("queue", f"label_values({NAMED_BY}{{{NAMESPACE}}}, queue)").label("Queue")
        yield queues.multi(True).include_all(True).all_value(".+").current(VariableOption(True, "All", "$__all"))


def _reads_metrics(board: Board) -> bool:
    return any(panel.queries for panel in board.panels)


def _deploys() -> dashboard.AnnotationQuery:
    """A line in every panel where processes of another commit begin to run."""
    note = dashboard.AnnotationQuery().name("Deploys").datasource(SOURCE).enable(True).icon_color("blue")
    return note.expr(DEPLOYS.promql)


def _chosen(name: str, question: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).query(question).datasource(SOURCE)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel | text.Panel:
    if panel.kind is Kind.WORDS:
        made = text.Panel().title(panel.title).description(panel.description)
        return made.mode(TextMode.MARKDOWN).content(panel.words)
    return _number(panel) if panel.kind is Kind.NUMBER else _lines(panel)


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.description).unit(panel.unit.value).datasource(SOURCE)
    for target in _targets(panel):
        made = made.with_target(target.instant())
    made = made.graph_mode(BigValueGraphMode.NONE).thresholds(_thresholds(panel)).links(_to_runbooks(panel))
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.description).unit(panel.unit.value)
    for target in _targets(panel):
        made = made.with_target(target.range())
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    made = made.datasource(SOURCE).links(_to_runbooks(panel)).fill_opacity(8)
    return made.legend(legend.show_legend(True)).tooltip(tooltip)


def _targets(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for place, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.promql).legend_format(query.legend or panel.title)
        yield target.ref_id(chr(ord("A") + place)).datasource(SOURCE)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(None, GREEN)]
    if panel.alarming_from is not None:
        steps.append(Threshold(panel.alarming_from, RED))
    if panel.good_from is not None:
        steps = [Threshold(None, RED), Threshold(panel.good_from, GREEN)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _to_runbooks(panel: Panel) -> list[Builder[DashboardLink]]:
    leading_here = (runbook for runbook in RUNBOOKS.panels if runbook.title in panel.alerts)
    return [
        dashboard.DashboardLink(f"{one.title}: what to do").type(DashboardLinkType.LINK).url(RUNBOOKS.path_to(one))
        for one in leading_here
    ]

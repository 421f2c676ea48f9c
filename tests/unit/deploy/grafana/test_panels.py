"""Queries are about the namespace that is chosen, and what nobody counted yet is 0."""

from deploy.grafana.panels import Board, Kind, Panel, Query, Row, per_second, percentiles, quantile


def test_what_nobody_counted_yet_is_shown_as_0() -> None:
    query = Query("sum by (relay, code) (rate(x{}[5m]))", "{{relay}} {{code}}", quiet=True)
    assert query.measured == 'sum by (relay, code) (rate(x{namespace="$namespace"}[5m]))'
    assert query.promql == f'{query.measured} or on () label_replace(vector(0), "relay", "none", "", "")'
    assert Query('sum(x{a="b"})', quiet=True).promql == 'sum(x{namespace="$namespace",a="b"}) or on () vector(0)'


def test_a_histogram_is_read_by_its_buckets() -> None:
    (p50, p95, p99) = percentiles("x_seconds", "queue", 'queue="ocr"')
    assert (p50.legend, p95.legend, p99.legend) == ("{{queue}} p50", "{{queue}} p95", "{{queue}} p99")
    rates = 'sum by (le, queue) (rate(x_seconds_bucket{namespace="$namespace",queue="ocr"}[$__rate_interval]))'
    assert p95.promql == f"histogram_quantile(0.95, {rates})"
    assert quantile(0.5, "x_seconds").expression == (
        "histogram_quantile(0.5, sum by (le) (rate(x_seconds_bucket{}[$__rate_interval])))"
    )
    assert quantile(0.5, "x_seconds").legend == ""


def test_a_counter_is_read_by_its_labels() -> None:
    query = per_second("x_total", "queue, outcome")
    assert query == Query("sum by (queue, outcome) (rate(x_total{}[$__rate_interval]))", "{{queue}} {{outcome}}")


def test_a_link_to_a_panel_outlives_its_neighbours() -> None:
    first, second = Panel("First", "A panel.", Kind.NUMBER), Panel("Second", "A panel.", Kind.NUMBER)
    before = Board("b", "B", "A board.", (Row("R", (second,)),))
    after = Board("b", "B", "A board.", (Row("R", (first, second)),))
    assert before.path_to(second) == after.path_to(second) == f"/d/argosy-b?viewPanel={second.number}"
    assert first.number != second.number

"""Rows and downloads are 0 until there are some; the oldest snapshot counts."""

from pathlib import Path

from deploy.grafana.boards.exports import EXPORTS
from tests.panel_values import assert_shows


def test_rows_by_dataset_and_format(tmp_path: Path) -> None:
    assert_shows(tmp_path, EXPORTS, "Rows written", {}, {'{dataset="none"}': 0})
    rows = {
        f'argosy_export_rows_total{{instance="{one}",dataset="jobs",format="csv"}}': "0+150x80"
        for one in ("e1", "e2")
    }
    assert_shows(tmp_path, EXPORTS, "Rows written", rows, {'{dataset="jobs",format="csv"}': 20})


def test_the_oldest_snapshot_counts(tmp_path: Path) -> None:
    series = {
        'argosy_export_snapshot_age_seconds{instance="e1",service="exporter"}': "10x80",
        'argosy_export_snapshot_age_seconds{instance="e2",service="exporter"}': "70x80",
    }
    assert_shows(tmp_path, EXPORTS, "Oldest snapshot", series, {"{}": 70})

"""Rejected events are a share of all that came, and wrong counts are wrong in either direction."""

from pathlib import Path

from deploy.grafana.boards.analytics import ANALYTICS
from tests.panel_values import assert_shows


def test_the_share_that_is_rejected(tmp_path: Path) -> None:
    series = {
        f'argosy_events_total{{instance="a",outcome="{outcome}"}}': values
        for outcome, values in (
            ("counted", "0+6x80"),
            ("duplicate", "0+2x80"),
            ("rejected", "0+2x80"),
            ("late", "0+3x80"),  # they are counted too
        )
    }
    assert_shows(tmp_path, ANALYTICS, "Rejected (15 min)", series, {"{}": 0.2}, minutes=20)


def test_too_few_are_as_wrong_as_too_many(tmp_path: Path) -> None:
    series = {'argosy_rollup_drift{instance="a1"}': "-3x80", 'argosy_rollup_drift{instance="a2"}': "0x80"}
    assert_shows(tmp_path, ANALYTICS, "Counts wrong by", series, {"{}": 3})


def test_only_those_that_count_events_know_of_partitions(tmp_path: Path) -> None:
    series = {
        'argosy_partitions_ahead_days{service="analytics"}': "45x80",
        'argosy_partitions_ahead_days{service="gateway"}': "0x80",
    }
    assert_shows(tmp_path, ANALYTICS, "Partitions ahead", series, {"{}": 45})

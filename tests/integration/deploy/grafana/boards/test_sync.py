"""Only the workers that read sources know of them."""

from pathlib import Path

from deploy.grafana.boards.sync import SYNC
from tests.panel_values import assert_shows


def test_the_worker_that_knows_of_the_oldest_is_believed(tmp_path: Path) -> None:
    series = {
        'argosy_sync_oldest_success_seconds{instance="s1",service="sync"}': "100x80",
        'argosy_sync_oldest_success_seconds{instance="s2",service="sync"}': "160x80",
        'argosy_sync_oldest_success_seconds{instance="g1",service="gateway"}': "0x80",
    }
    assert_shows(tmp_path, SYNC, "Longest not read", series, {"{}": 160})


def test_bytes_are_added_up(tmp_path: Path) -> None:
    series = {f'argosy_sync_bytes_total{{instance="{one}",service="sync"}}': "0+1500x80" for one in ("s1", "s2")}
    assert_shows(tmp_path, SYNC, "Received", series, {"{}": 200})


def test_no_request_is_none(tmp_path: Path) -> None:
    assert_shows(tmp_path, SYNC, "Requests by status", {}, {'{status="none"}': 0})

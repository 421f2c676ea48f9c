"""The promises of a fleet in one figure each."""

from pathlib import Path

from deploy.grafana.boards.fleet import FLEET
from tests.panel_values import assert_shows

GATEWAY = 'instance="g1",service="gateway"'


def test_jobs_that_are_lost_and_doubled_do_not_cancel_each_other(tmp_path: Path) -> None:
    series = {
        f"argosy_accounting_timestamp_seconds{{{GATEWAY}}}": "0+15x80",
        f'argosy_jobs_unaccounted{{{GATEWAY},queue="ocr"}}': "2x80",
        f'argosy_jobs_unaccounted{{{GATEWAY},queue="sync"}}': "-2x80",
    }
    assert_shows(tmp_path, FLEET, "Jobs unaccounted", series, {"{}": 4})


def test_slots_in_use_are_a_share_of_those_of_all_workers(tmp_path: Path) -> None:
    series = {
        f'argosy_slots{{{GATEWAY},queue="ocr"}}': "4x80",
        f'argosy_slots{{{GATEWAY},queue="sync"}}': "0x80",  # no worker: no share
        'argosy_jobs_running{instance="w1",queue="ocr"}': "2x80",
        'argosy_jobs_running{instance="w2",queue="ocr"}': "1x80",
    }
    assert_shows(tmp_path, FLEET, "Slots in use", series, {'{queue="ocr"}': 0.75})


def test_parts_that_died_and_parts_that_fail_are_added(tmp_path: Path) -> None:
    title = "Parts of processes lost (15 min)"
    assert_shows(tmp_path, FLEET, title, {}, {"{}": 0})
    series = {
        'argosy_background_deaths_total{instance="w1",part="lease"}': "0+1x80",
        'argosy_background_errors_total{instance="w2",part="lease"}': "0+2x80",
    }
    assert_shows(tmp_path, FLEET, title, series, {"{}": 180}, minutes=20)


def test_no_alert_is_none(tmp_path: Path) -> None:
    assert_shows(tmp_path, FLEET, "Alerts firing", {}, {'{alertname="none"}': 0})

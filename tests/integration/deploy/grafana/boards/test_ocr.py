"""Pages by the source of their text, and the jobs of this queue only."""

from pathlib import Path

from deploy.grafana.boards.ocr import OCR
from tests.panel_values import assert_shows


def test_pages_of_all_workers_are_added_up(tmp_path: Path) -> None:
    series = {
        f'argosy_ocr_page_seconds_count{{instance="{worker}",source="ocr"}}': "0+15x80" for worker in ("w1", "w2")
    }
    assert_shows(tmp_path, OCR, "Pages read", series, {'{source="ocr"}': 2})


def test_jobs_of_other_queues_are_left_out(tmp_path: Path) -> None:
    series = {
        'argosy_attempts_finished_total{queue="ocr",outcome="succeeded"}': "0+15x80",
        'argosy_attempts_finished_total{queue="mailer",outcome="succeeded"}': "0+90x80",
    }
    assert_shows(tmp_path, OCR, "Jobs by outcome", series, {'{outcome="succeeded"}': 1})

"""What becomes of a queue's jobs, beside each other for each queue."""

from pathlib import Path

from deploy.grafana.boards.queue import QUEUES
from tests.panel_values import assert_shows

FRESH, OLD = 'instance="g1",service="gateway"', 'instance="g2",service="gateway"'


def test_failures_are_a_share_of_what_ended(tmp_path: Path) -> None:
    series = {
        f'argosy_attempts_finished_total{{queue="{queue}",outcome="{outcome}"}}': values
        for queue, outcome, values in (
            ("ocr", "failed", "0+1x80"),
            ("ocr", "succeeded", "0+3x80"),
            ("ocr", "queued", "0+9x80"),  # to be tried again: no end
            ("mailer", "failed", "0x80"),
            ("mailer", "succeeded", "0+5x80"),
        )
    }
    share = {'{queue="ocr"}': 0.25, '{queue="mailer"}': 0}
    assert_shows(tmp_path, QUEUES, "Jobs that fail (15 min)", series, share, minutes=20)


def test_the_gateway_that_counted_last_is_believed(tmp_path: Path) -> None:
    series = {
        f"argosy_accounting_timestamp_seconds{{{FRESH}}}": "0+15x80",
        f"argosy_accounting_timestamp_seconds{{{OLD}}}": "1x80",
        f'argosy_oldest_waiting_seconds{{{FRESH},queue="ocr"}}': "30x80",
        f'argosy_oldest_waiting_seconds{{{OLD},queue="ocr"}}': "900x80",
    }
    assert_shows(tmp_path, QUEUES, "Oldest waiting job", series, {SERIES: 30})


def test_busy_slots_are_added_up_over_workers(tmp_path: Path) -> None:
    series = {
        f'argosy_slots_wanted{{{FRESH},queue="ocr"}}': "9x80",
        f'argosy_slots{{{FRESH},queue="ocr"}}': "4x80",
        'argosy_jobs_running{instance="w1",queue="ocr"}': "2x80",
        'argosy_jobs_running{instance="w2",queue="ocr"}': "1x80",
    }
    wanted, there = ({SERIES: value} for value in (9, 4))
    assert_shows(tmp_path, QUEUES, "Slots", series, wanted, there, {'{queue="ocr"}': 3})


SERIES = '{namespace="p",queue="ocr"}'

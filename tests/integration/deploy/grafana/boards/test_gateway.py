"""Errors are a share of the requests, and 0 where there are requests and no errors."""

from pathlib import Path

from deploy.grafana.boards.gateway import GATEWAY
from tests.panel_values import assert_shows


def requests(status: str, values: str) -> dict[str, str]:
    return {f'argosy_http_requests_total{{instance="g",route="submit_ocr",status="{status}"}}': values}


def test_errors_over_all_spans(tmp_path: Path) -> None:
    series = requests("202", "0+3x1600") | requests("503", "0+1x1600")
    assert_shows(tmp_path, GATEWAY, "Answered with 5xx", series, *({"{}": 0.25} for _ in range(4)), minutes=370)


def test_no_error_is_none_and_not_unknown(tmp_path: Path) -> None:
    assert_shows(
        tmp_path, GATEWAY, "Answered with 5xx", requests("202", "0+3x1600"), *({"{}": 0} for _ in range(4))
    )
    assert_shows(tmp_path, GATEWAY, "Answered with 5xx", {}, {}, {}, {}, {})


def test_time_to_accept_is_that_of_submissions(tmp_path: Path) -> None:
    series = {
        f'argosy_http_request_seconds_bucket{{route="{route}",le="{le}"}}': values
        for route, le, values in (
            ("submit_ocr", "0.1", "0+50x80"),
            ("submit_mail", "0.2", "0+50x80"),
            ("submit_mail", "0.1", "0x80"),
            ("submit_ocr", "0.2", "0+50x80"),
            ("submit_ocr", "+Inf", "0+50x80"),
            ("submit_mail", "+Inf", "0+50x80"),
            ("list_jobs", "+Inf", "0+900x80"),
        )
    }
    assert_shows(tmp_path, GATEWAY, "Time to accept", series, {"{}": 0.1}, {"{}": 0.19}, {"{}": 0.198})

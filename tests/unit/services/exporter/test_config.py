"""What the exporter's settings may be."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.exporting import settings_of


def test_defaults() -> None:
    settings = settings_of()
    assert (settings.slots, settings.export_timeout_s, settings.export_rows_per_s) == (3, 900, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"link_secret": "short"},
        {"export_concurrency": 0},
        {"export_timeout_s": 0},
        {"export_rows_per_s": -1},
        {"public_url": "ftp://x"},
        {"export_concurrency": 5, "db_max_connections": 10},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(**wrong)

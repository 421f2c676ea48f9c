"""What is wrong with the settings is found at the start."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.ocr.config import Settings

NEEDED = {"database_url": "x", "nats_url": "nats://x", "blob_url": "x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ocr_concurrency", 0),
        ("ocr_engine", "abbyy"),
        ("ocr_max_pages", 0),
        ("ocr_max_page_pixels", 999_999),
        ("ocr_page_timeout_s", 0),
        ("ocr_memory_mb", 255),
    ],
)
def test_what_no_page_could_be_read_with_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate(NEEDED | {name: value})


def test_slots_are_the_pages_at_once() -> None:
    assert Settings.model_validate(NEEDED | {"ocr_concurrency": 7}).slots == 7

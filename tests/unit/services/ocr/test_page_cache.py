"""A page is found by all that its reading depends on, and by nothing else."""

from typing import Any

import pytest

from libs.common.contracts.ocr import OcrOptions
from services.ocr.page_cache import key_of

FACTS: dict[str, Any] = {
    "pixels": b"\x00" * 32, "engine": "5.3.0 eng:1:2", "options": OcrOptions(), "languages": "eng", "dpi": 200,
    "media_type": "application/pdf",
}  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"pixels": b"\x01" * 32},
    {"engine": "5.3.1 eng:1:2"},
    {"options": OcrOptions(psm=6)},
    {"options": OcrOptions(dpi=200)},
    {"languages": "eng+deu"},
    {"dpi": 300},
    {"media_type": "image/png"},
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_what_may_be_read_differently_is_another_page(other: dict[str, Any]) -> None:
    assert key_of(**FACTS) != key_of(**FACTS | other)


def test_the_same_page_is_the_same_wherever_it_stands_in_its_document() -> None:
    assert key_of(**FACTS) == key_of(**FACTS | {"options": OcrOptions(pages="2-3", languages=("eng",))})
    assert len({key_of(**FACTS | other) for other in OTHERS}) == len(OTHERS)

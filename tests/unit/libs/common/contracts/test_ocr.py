"""Options of a document as they cross the wire."""

import pytest
from pydantic import ValidationError

from libs.common.contracts.ocr import OcrOptions


@pytest.mark.parametrize("pages", ["1", "1-3", "1-3,7", "12,4-9"])
def test_page_ranges(pages: str) -> None:
    assert OcrOptions(pages=pages).pages == pages


@pytest.mark.parametrize("pages", ["", "0", "3-1", "a", "1,", "1-2-3", "-5"])
def test_page_ranges_that_are_none(pages: str) -> None:
    with pytest.raises(ValidationError):
        OcrOptions(pages=pages)


@pytest.mark.parametrize("language", ["-psm", "../eng", "eng;rm", "e", ""])
def test_a_language_cannot_be_smuggled_into_the_command_line(language: str) -> None:
    with pytest.raises(ValidationError):
        OcrOptions(languages=(language,))

"""Options of a document as they cross the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize("psm", [0, 2, 14, -1, True, 3.5])
def test_a_mode_that_gives_no_text_is_refused(psm: object) -> None:
    with pytest.raises(ValidationError):
        OcrOptions.model_validate({"psm": psm}, strict=True)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    options = OcrOptions.model_validate_json('{"dpi": 300.0, "psm": 6.0}', strict=True)
    assert (options.dpi, options.psm) == (300, 6)


@pytest.mark.parametrize("options", [{"dpi": 71}, {"dpi": 601}, {"languages": ["eng"] * 9}, {"rotate": 90}])
def test_options_out_of_bounds_or_unheard_of_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OcrOptions.model_validate(options)


@given(st.text(alphabet="0123456789,-", max_size=30))
def test_page_ranges_that_are_taken_count_from_one_and_go_up(pages: str) -> None:
    try:
        taken = OcrOptions(pages=pages).pages or ""
    except ValidationError:
        return
    for part in taken.split(","):
        first, _, last = part.partition("-")
        assert 1 <= int(first) <= int(last or first)

"""Ids and options as they cross the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.contracts.ids import parse_id, public_id
from libs.common.contracts.ocr import OcrOptions
from libs.common.ledger.jobs import new_id


def test_an_id_survives_the_way_out_and_back() -> None:
    job_id = new_id()
    assert parse_id(public_id(job_id)) == job_id


@given(st.text())
def test_no_text_breaks_parse_id(text: str) -> None:
    parsed = parse_id(text)
    assert parsed is None or public_id(parsed) == text


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)


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

"""Which pages are wanted."""

import pytest

from services.ocr.handler import wanted_pages
from services.ocr.refusals import NoSuchPage


@pytest.mark.parametrize(
    ("pages", "numbers"), [(None, [1, 2, 3, 4]), ("2", [2]), ("3-4,1", [1, 3, 4]), ("1-2,2-3", [1, 2, 3])]
)
def test_wanted_pages(pages: str | None, numbers: list[int]) -> None:
    assert wanted_pages(pages, 4) == numbers


@pytest.mark.parametrize("pages", ["5", "3-5", "1,999999"])
def test_pages_that_are_not_there(pages: str) -> None:
    with pytest.raises(NoSuchPage, match="the document has 4"):
        wanted_pages(pages, 4)

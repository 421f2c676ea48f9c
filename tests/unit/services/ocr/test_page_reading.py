"""A page's parts: found by its number, and its own text left where it has some."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts.ocr import OcrOptions, Page
from services.ocr.documents import PDF
from services.ocr.page_reading import (
    FIRST_DPI,
    FULL_DPI,
    PageFiles,
    Prepared,
    Task,
    prepare_page,
    renumber,
)
from services.ocr.picture_pdf import ASSUMED_DPI
from services.ocr.tesseract import Engine
from tests import pictures

ENGINE = Engine("tesseract", Path("none"), Path("none"), "none")


def task(folder: Path, content: bytes, media_type: str = PDF, **options: int) -> Task:
    source = pictures.write(folder, "source", content)
    return Task(source, media_type, OcrOptions.model_validate(options), ENGINE, "eng", 4_000_000, 1.0)


def prepared(folder: Path, what: Task, number: int = 1) -> Prepared:
    return prepare_page(what, PageFiles(folder, number), what.dpi)


def page_of(folder: Path) -> Page:
    return Page.model_validate_json(PageFiles(folder, 1).path(".json").read_bytes())


def test_parts_lie_beside_each_other_in_the_order_of_pages() -> None:
    paths = [PageFiles(Path("f"), number).path(".json") for number in (2, 10, 3000)]
    assert str(paths[0]) == "f/page-000002.json"
    assert sorted(paths) == paths


def test_a_page_with_text_is_done_when_it_has_been_prepared(tmp_path: Path) -> None:
    found = prepared(tmp_path, task(tmp_path, pictures.text_pdf("Typed long ago")))
    assert found.summary is not None
    facts = found.summary.document()
    assert (facts["source"], facts["words"], facts["recognised"], facts["confidence"]) == (
        "text-layer",
        3,
        0,
        None,
    )
    assert PageFiles(tmp_path, 1).path(".txt").read_text().strip() == "Typed long ago"
    page = page_of(tmp_path)
    assert (page.dpi, page.width, page.height) == (FULL_DPI, 612 * FULL_DPI // 72, 792 * FULL_DPI // 72)
    assert not PageFiles(tmp_path, 1).path(".pdf").exists(), "no text goes over it"


@pytest.mark.parametrize(("asked", "dpi"), [({}, FIRST_DPI), ({"dpi": 100}, 100)])
def test_a_scan_is_drawn_as_asked(tmp_path: Path, asked: dict[str, Any], dpi: int) -> None:
    found = prepared(tmp_path, task(tmp_path, pictures.scanned_pdf([pictures.page(dpi=50)], dpi=50), **asked))
    assert (found.source, found.summary, found.dpi) == ("ocr", None, dpi)
    assert found.image is not None
    assert abs(found.image.height - 11 * dpi) <= 1


def test_an_image_is_taken_for_what_it_says_or_for_the_usual(tmp_path: Path) -> None:
    image = pictures.page(dpi=50)
    for content, dpi in (
        (pictures.encoded(image, "PNG", dpi=(150, 150)), 150),
        (pictures.encoded(image, "PNG"), ASSUMED_DPI),
    ):
        assert prepared(tmp_path, task(tmp_path, content, "image/png")).dpi == dpi


def test_the_same_picture_has_the_same_digest_whatever_document_it_is_in(tmp_path: Path) -> None:
    known, other = pictures.page(["Known."], dpi=50), pictures.page(["Another."], dpi=50)
    alone = prepared(tmp_path, task(tmp_path, pictures.scanned_pdf([known])))
    second = prepared(tmp_path, task(tmp_path, pictures.scanned_pdf([other, known])), number=2)
    first = prepared(tmp_path, task(tmp_path, pictures.scanned_pdf([other, known])))
    assert alone.digest == second.digest != first.digest


def test_a_page_that_was_another_is_given_its_number_and_nothing_else(tmp_path: Path) -> None:
    prepared(tmp_path, task(tmp_path, pictures.text_pdf("Typed long ago")))
    before = page_of(tmp_path)
    here = PageFiles(tmp_path, 7)
    PageFiles(tmp_path, 1).path(".json").rename(here.path(".json"))
    renumber(here)
    after = Page.model_validate_json(here.path(".json").read_bytes())
    assert (before.number, after.number) == (1, 7)
    assert after.model_copy(update={"number": 1}) == before


def test_a_page_that_is_not_asked_for_otherwise_is_drawn_small_first(tmp_path: Path) -> None:
    what = task(tmp_path, pictures.text_pdf("x"))
    assert (what.dpi, replace(what, options=OcrOptions(dpi=600)).dpi) == (FIRST_DPI, 600)

"""A document that shows something else than was read is noticed."""

import io
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageOps

from services.ocr.comparison import differing_pages, look_alike
from services.ocr.documents import PDF
from services.ocr.picture_pdf import write_pdf
from tests import pictures


def made_of(folder: Path, page: Image.Image, name: str = "result.pdf") -> Path:
    return pictures.write(folder, name, pictures.scanned_pdf([page]))


def test_the_same_page_looks_alike_in_any_encoding(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG"):
        source = pictures.write(tmp_path, kind, pictures.encoded(pictures.page(), kind, quality=60))
        write_pdf(source, tmp_path, tmp_path / "result.pdf")
        assert differing_pages(tmp_path / "result.pdf", source, "image/png", [1]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda page: Image.new("L", page.size, 255),
        ImageOps.invert,
        ImageOps.mirror,
        lambda page: page.rotate(180),
        lambda page: page.crop((0, 0, page.width, page.height // 2)).resize(page.size),
    ],
    ids=["white", "inverted", "mirrored", "upside-down", "stretched"],
)
def test_another_look_is_noticed(tmp_path: Path, change: object) -> None:
    page = pictures.page()
    source = pictures.write(tmp_path, "source", pictures.encoded(page, "PNG"))
    assert callable(change)
    assert differing_pages(made_of(tmp_path, change(page)), source, "image/png", [1]) == [1]
    assert differing_pages(made_of(tmp_path, change(page)), made_of(tmp_path, page, "pdf"), PDF, [1]) == [1]


def test_what_cannot_be_opened_or_lacks_a_page_differs_in_all(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source", pictures.scanned_pdf([pictures.page(dpi=20)] * 2))
    broken = pictures.write(tmp_path, "result", source.read_bytes().replace(b"startxref", b"startxrex"))
    assert differing_pages(broken, source, PDF, [1, 2]) == [1, 2]
    assert differing_pages(made_of(tmp_path, pictures.page(dpi=20)), source, PDF, [1, 2]) == [1, 2]
    assert differing_pages(source, source, PDF, [1, 2]) == []


def test_a_page_that_was_turned_in_the_document_is_the_same(tmp_path: Path) -> None:
    source = made_of(tmp_path, pictures.page(), "source")
    buffer = io.BytesIO()
    with pikepdf.open(source) as document:
        document.pages[0].Rotate = 90
        document.save(buffer)
    assert differing_pages(pictures.write(tmp_path, "result", buffer.getvalue()), source, PDF, [1]) == []


def test_a_part_that_is_missing_is_noticed() -> None:
    page = pictures.page().resize((300, 400), Image.Resampling.BOX)
    without = page.copy()
    without.paste(255, (0, 0, 300, 60))
    assert look_alike(page, page)
    assert not look_alike(page, without)

"""Parts of pages become one document, in their order, whatever the source is."""

import io
import json
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from PIL import Image

from libs.common.contracts.ocr import Block, Line, Page, Word
from services.ocr.assembly import MEDIA_TYPES, PREVIEW_CHARACTERS, assemble
from services.ocr.documents import PDF
from services.ocr.page_reading import PageFiles
from services.ocr.refusals import UnreadableDocument
from tests import pictures


def read(folder: Path, number: int, text: str, *, layer: bool = False) -> None:
    """Leave the parts of a page as if it had been read."""
    files = PageFiles(folder, number)
    word = Word(text=text.split()[0], box=(10, 10, 50, 30), confidence=90)
    line = Line(box=word.box, words=[word])
    page = Page(number=number, width=612, height=792, dpi=72, source="ocr", confidence=90,
                blocks=[Block(box=word.box, lines=[line])])  # fmt: skip
    files.path(".txt").write_text(text)
    files.path(".json").write_text(page.model_dump_json())
    if layer:
        files.path(".pdf").write_bytes(pictures.text_pdf(text))


def texts_of(pdf: Path) -> list[str]:
    return [page.get_textpage().get_text_range().strip() for page in pypdfium2.PdfDocument(pdf.read_bytes())]


def test_every_artifact_is_written_with_the_pages_in_their_order(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source", pictures.scanned_pdf([pictures.page(dpi=20)] * 3))
    for number, text in ((1, "one\n\n\n"), (3, "three")):
        read(tmp_path, number, text, layer=True)
    assert assemble(source, PDF, tmp_path, [1, 3]).preview == "one\n\x0cthree"
    assert (tmp_path / "text.txt").read_text() == "one\n\x0cthree\n\x0c"
    assert [page["number"] for page in json.loads((tmp_path / "words.json").read_text())["pages"]] == [1, 3]
    assert texts_of(tmp_path / "document.pdf") == ["one", "three"], "the second page was not asked for"
    assert all((tmp_path / name).stat().st_size for name in MEDIA_TYPES)


def test_the_preview_is_the_beginning(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source", pictures.text_pdf("x"))
    read(tmp_path, 1, "  " + "tides " * 1000)
    preview = assemble(source, PDF, tmp_path, [1]).preview
    assert preview.startswith("tides tides")
    assert PREVIEW_CHARACTERS - 10 < len(preview) <= PREVIEW_CHARACTERS


def test_a_page_with_text_of_its_own_is_left_alone(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source", pictures.text_pdf("typed"))
    read(tmp_path, 1, "typed")
    assemble(source, PDF, tmp_path, [1])
    assert texts_of(tmp_path / "document.pdf") == ["typed"]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "LA", "I;16"])
def test_a_picture_of_any_kind_becomes_a_page_of_its_size(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (425, 550), 1)
    source = pictures.write(tmp_path, "source", pictures.encoded(image, "PNG", dpi=(100, 100)))
    read(tmp_path, 1, "words", layer=True)
    assemble(source, "image/png", tmp_path, [1])
    assert texts_of(tmp_path / "document.pdf") == ["words"]
    with pikepdf.open(tmp_path / "document.pdf") as document:
        assert [round(float(edge)) for edge in document.pages[0].mediabox] == [0, 0, 306, 396]
        assert len(document.pages[0].get_images()) == 1


def test_a_picture_with_a_long_edge_is_no_longer_than_a_page_may_be(tmp_path: Path) -> None:
    source = pictures.write(
        tmp_path, "source", pictures.encoded(Image.new("1", (20_000, 10), 1), "PNG", dpi=(72, 72))
    )
    read(tmp_path, 1, "words", layer=True)
    assemble(source, "image/png", tmp_path, [1])
    with pikepdf.open(tmp_path / "document.pdf") as document:
        assert float(document.pages[0].mediabox[2]) <= 14_400, "points: ISO 32000-1, annex C"


def test_a_pdf_beyond_repair_is_refused_by_name(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source", b"%PDF-1.7\ngarbage")
    read(tmp_path, 1, "words")
    with pytest.raises(UnreadableDocument):
        assemble(source, PDF, tmp_path, [1])


def test_the_same_picture_is_not_changed_by_the_words_over_it(tmp_path: Path) -> None:
    content = pictures.encoded(pictures.page(dpi=50), "JPEG")
    source = pictures.write(tmp_path, "source", content)
    read(tmp_path, 1, "words", layer=True)
    assemble(source, "image/jpeg", tmp_path, [1])
    with pikepdf.open(io.BytesIO((tmp_path / "document.pdf").read_bytes())) as document:
        (picture,) = document.pages[0].get_images().values()
        assert picture.read_raw_bytes() == content

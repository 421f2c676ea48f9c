"""The text that a page has is taken if it can be trusted, with its words in their places."""

import io

import pikepdf
import pypdfium2
import pytest

from services.ocr.text_layer import has_images, text_blocks, usable_text
from tests import pictures
from tests.integration.services.ocr.hostile import unmapped_font_pdf


def page_of(content: bytes) -> pypdfium2.PdfPage:
    return pypdfium2.PdfDocument(content)[0]


def with_picture(content: bytes, share: float) -> bytes:
    """The same page, of 612 × 792 points, with a picture over that share of it."""
    with pikepdf.open(io.BytesIO(content)) as document:
        stream = pikepdf.Stream(document, bytes(100))
        stream.Type, stream.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        stream.Width = stream.Height = 10
        stream.ColorSpace, stream.BitsPerComponent = pikepdf.Name.DeviceGray, 8
        page = document.pages[0]
        page.Resources.XObject = pikepdf.Dictionary(P=document.make_indirect(stream))
        page.contents_add(document.make_stream(f"q 612 0 0 {792 * share} 0 0 cm /P Do Q".encode()))
        buffer = io.BytesIO()
        document.save(buffer)
    return buffer.getvalue()


def lines_pdf(*lines: tuple[float, str]) -> bytes:
    """Lines at so many points from the bottom."""
    with pikepdf.open(io.BytesIO(pictures.text_pdf("x"))) as document:
        shown = "".join(f"1 0 0 1 72 {up} Tm ({text}) Tj " for up, text in lines)
        document.pages[0].Contents = document.make_stream(f"BT /F1 12 Tf {shown}ET".encode())
        buffer = io.BytesIO()
        document.save(buffer)
    return buffer.getvalue()


def test_a_page_without_text_has_none() -> None:
    assert usable_text(page_of(pictures.scanned_pdf([pictures.page(dpi=20)]))) is None
    assert usable_text(page_of(pictures.text_pdf("   "))) is None


def test_text_without_meaning_is_none() -> None:
    assert usable_text(page_of(unmapped_font_pdf())) is None


@pytest.mark.parametrize(
    ("letters", "share", "taken"), [(12, 0.0, True), (12, 0.4, True), (12, 0.9, False), (120, 0.9, True)]
)
def test_a_stamp_on_a_scan_is_not_its_text(letters: int, share: float, taken: bool) -> None:
    """A scan with more has been read before."""
    content = with_picture(pictures.text_pdf("a" * letters), share)
    assert (usable_text(page_of(content)) is not None) is taken


@pytest.mark.parametrize(("share", "worth"), [(0.0, False), (0.05, False), (0.3, True), (0.9, False)])
def test_a_logo_is_not_worth_reading_and_a_whole_page_has_been_read(share: float, worth: bool) -> None:
    assert has_images(page_of(with_picture(pictures.text_pdf("x"), share))) is worth


def test_words_lie_where_they_are_seen() -> None:
    (block,) = text_blocks(page_of(lines_pdf((700, "High water"), (680, "at six"))), scale=2.0)
    assert [[word.text for word in line.words] for line in block.lines] == [["High", "water"], ["at", "six"]]
    high, water = block.lines[0].words
    assert high.box[0] == pytest.approx(144, abs=4)
    assert 2 * (792 - 712) < high.box[1] < high.box[3] <= 2 * (792 - 697)
    assert high.box[2] < water.box[0]
    assert block.lines[0].box == (high.box[0], min(high.box[1], water.box[1]), water.box[2], max(
        high.box[3], water.box[3]))  # fmt: skip
    assert {word.confidence for line in block.lines for word in line.words} == {100.0}


def test_a_page_without_words_has_no_blocks() -> None:
    assert text_blocks(page_of(pictures.scanned_pdf([pictures.page(dpi=20)])), scale=1.0) == []

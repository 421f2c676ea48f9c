"""A page is read as a viewer shows it, with its notes and the values of its form."""

import io

import pikepdf
import pypdfium2
import pytest

from services.ocr.pdf_page import SMALL_PIXELS, draw_small, open_page
from tests.drawn_pdf import HEIGHT, WIDTH, Change, add_field, add_note, drawn_pdf, text


def texts_of(content: bytes) -> str:
    found: str = open_page(pypdfium2.PdfDocument(content), 1).get_textpage().get_text_range()
    return " ".join(found.split())


def note(kind: str, flags: int = 4) -> Change:
    return lambda document, sheet: add_note(document, sheet, "Sign before Friday", kind, flags)


def field(value: str) -> Change:
    return lambda document, sheet: add_field(document, sheet, value)


@pytest.mark.parametrize("kind", ["/FreeText", "/Stamp"])
def test_notes_are_text_of_the_page(kind: str) -> None:
    assert texts_of(drawn_pdf(text("Typed", 72, 700), change=note(kind))) == "Typed Sign before Friday"


def test_values_of_a_form_are_text_of_the_page() -> None:
    content = drawn_pdf(text("Vessel", 72, 700), change=field("Evening Heron"))
    assert texts_of(content) == "Vessel Evening Heron"


def test_what_is_hidden_and_links_change_nothing() -> None:
    hidden = 2
    assert texts_of(drawn_pdf(text("Typed", 72, 700), change=note("/FreeText", hidden))) == "Typed"
    document = pypdfium2.PdfDocument(drawn_pdf(text("Typed", 72, 700), change=note("/Link")))
    assert open_page(document, 1).get_textpage().get_text_range() == "Typed"
    assert document.formenv is None


def test_other_pages_of_the_document_can_be_opened_after_one() -> None:
    with pikepdf.new() as document:
        for value in ("Evening Heron", "Morning Tern"):
            content = drawn_pdf("", change=field(value))
            with pikepdf.open(io.BytesIO(content)) as other:
                document.add_pages_from(other)
        buffer = io.BytesIO()
        document.save(buffer)
    opened = pypdfium2.PdfDocument(buffer.getvalue())
    texts = [open_page(opened, number).get_textpage().get_text_range() for number in (2, 1, 2)]
    assert texts == ["Morning Tern", "Evening Heron", "Morning Tern"]


def test_a_small_drawing_has_the_size_of_the_page_and_an_upper_limit() -> None:
    page = pypdfium2.PdfDocument(drawn_pdf(text("x", 72, 700)))[0]
    assert draw_small(page).size == (WIDTH * 100 // 72, HEIGHT * 100 // 72)
    assert draw_small(page, ground=(255, 0, 255)).getpixel((0, 0)) == (255, 0, 255)

    def vast(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.MediaBox = pikepdf.Array([0, 0, 14_000, 14_000])

    width, height = draw_small(pypdfium2.PdfDocument(drawn_pdf("", change=vast))[0]).size
    assert width * height <= 1.01 * SMALL_PIXELS

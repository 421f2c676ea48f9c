"""The layer of an earlier recognition is taken out of a page, and nothing else."""

import io

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name

from services.ocr.invisible_text import remove_invisible_text
from tests.drawn_pdf import HEIGHT, WIDTH, drawn_pdf, saved, scan, text, whole_page


def without(content: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(content)) as document:
        remove_invisible_text(document, document.pages[0])
        return saved(document)


def words_of(content: bytes) -> list[str]:
    found: str = pypdfium2.PdfDocument(content)[0].get_textpage().get_text_range()
    return found.split()


def look_of(content: bytes) -> bytes:
    drawn: bytes = pypdfium2.PdfDocument(content)[0].render(grayscale=True).to_pil().tobytes()
    return drawn


def in_form(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    form = document.make_stream(text("below", 72, 500, mode=3).encode() + text("seen", 72, 450).encode())
    form.Type, form.Subtype, form.BBox = Name.XObject, Name.Form, Array([0, 0, WIDTH, HEIGHT])
    form.Resources = Dictionary(Font=sheet.Resources.Font)
    sheet.Resources.XObject.Layer = form


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (text("gone", 72, 600, mode=3) + text("here", 72, 700), ["here"]),
        ("BT 3 Tr /F1 12 Tf 72 700 Td (gone) Tj [(go) -20 (ne)] TJ 0 -20 Td 0 Tr (here) Tj ET", ["here"]),
        ("BT 3 Tr /F1 12 Tf 72 700 Td (stays ) Tj 0 Tr (here) Tj ET", ["here", "stays"]),
        ("3 Tr q 0 Tr " + "BT /F1 12 Tf 72 700 Td (here) Tj ET Q BT /F1 12 Tf 72 600 Td (gone) Tj ET", ["here"]),
        ("BT 3 Tr /F1 12 Tf 14 TL 72 700 Td (gone) ' 1 2 (gone) \" 0 Tr (here) ' ET", ["here"]),
        ("/Layer Do " + text("here", 72, 700), ["here", "seen"]),
        ("/Layer Do /Layer Do", ["seen"]),
    ],
    ids=["mode", "within", "place", "stack", "lines", "form", "form twice"],
)  # fmt: skip
def test_only_what_is_invisible_goes(content: str, left: list[str]) -> None:
    before = drawn_pdf(whole_page() + content, {"Scan": scan()}, in_form)
    after = without(before)
    assert sorted(set(words_of(after))) == left
    assert look_of(after) == look_of(before)


def test_a_page_without_invisible_text_stays_as_it_is() -> None:
    content = drawn_pdf(whole_page() + text("here", 72, 700), {"Scan": scan()})
    with pikepdf.open(io.BytesIO(content)) as document:
        before = document.pages[0].Contents.read_bytes()
        remove_invisible_text(document, document.pages[0])
        assert document.pages[0].Contents.read_bytes() == before


def test_a_form_in_itself_is_not_followed_for_ever() -> None:
    def in_itself(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        in_form(document, sheet)
        form = document.make_indirect(sheet.Resources.XObject.Layer)
        form.write(text("gone", 72, 500, mode=3).encode() + b"/Layer Do")
        form.Resources.XObject = Dictionary(Layer=form)
        sheet.Resources.XObject.Layer = form

    assert words_of(without(drawn_pdf("/Layer Do", change=in_itself))) in ([], ["gone"])

"""What a person sees on a page is read, from its text or from its picture, and what nobody sees is not."""

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Name
from PIL import Image

from services.ocr.page_judgement import OwnText, judge, words_of
from services.ocr.pdf_page import draw_small
from services.ocr.print_marks import has_print
from tests import pictures
from tests.drawn_pdf import HEIGHT, WIDTH, drawn_pdf, hidden_group, layer, scan, strips, text, whole_page
from tests.integration.services.ocr.hostile import unmapped_font_pdf

HEADER = text("Case 2:19-cv-00417 Document 36-2 Filed 05/14/2019 Page 2 of 9, received by the clerk", 72, 760, 10)
TYPED = "".join(text(line, 72, 700 - 20 * number) for number, line in enumerate(pictures.LINES))
WHITE = Image.new("L", (8, 8), 255)


def judged(content: bytes) -> OwnText | None:
    return judge(pypdfium2.PdfDocument(content)[0])


def found(content: bytes) -> OwnText:
    own = judged(content)
    assert own is not None
    return own


def text_of(own: OwnText) -> str:
    return " ".join(word.text for word in words_of(own.blocks))


def test_a_page_of_text_is_taken_as_it_is() -> None:
    own = found(drawn_pdf(TYPED))
    assert (text_of(own), own.to_read, own.doubted, own.layer) == (" ".join(pictures.LINES), False, False, [])


def test_a_page_without_text_has_none() -> None:
    assert judged(pictures.scanned_pdf([pictures.page(dpi=20)])) is None
    assert judged(drawn_pdf(text("   ", 72, 700))) is None


def test_text_without_meaning_is_none() -> None:
    assert judged(unmapped_font_pdf()) is None


@pytest.mark.parametrize("number", [1, 4, 16])
@pytest.mark.parametrize("own_text", [text("ARCHIVE COPY 000417", 380, 60), HEADER], ids=["stamp", "header"])
def test_a_scan_in_any_number_of_pictures_is_read_beside_its_stamp(number: int, own_text: str) -> None:
    content, parts = strips(scan(), number)
    own = found(drawn_pdf(content + own_text, parts))
    assert own.to_read
    assert own.layer == []
    assert len(words_of(own.blocks)) in (3, 14)


def test_a_picture_in_a_form_is_read() -> None:
    def in_form(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        form = document.make_stream(whole_page().encode())
        form.Type, form.Subtype, form.BBox = Name.XObject, Name.Form, Array([0, 0, WIDTH, HEIGHT])
        form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Scan=sheet.Resources.XObject.Scan))
        sheet.Resources.XObject.Form = form

    assert found(drawn_pdf("/Form Do\n" + HEADER, {"Scan": scan()}, in_form)).to_read


def test_letters_drawn_as_outlines_are_read() -> None:
    bars = "".join(f"{72 + 7 * at} {600 + 5 * (at % 2)} 2 {12 - 4 * (at % 3)} re f\n" for at in range(60))
    assert found(drawn_pdf(bars + HEADER)).to_read


def test_a_small_picture_of_text_is_read() -> None:
    notice = scan().crop((140, 140, 900, 330))
    content = "q 200 0 0 50 300 300 cm /Notice Do Q\n"
    assert found(drawn_pdf(TYPED + content, {"Notice": notice})).to_read


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_plain_picture_is_not_read(share: float) -> None:
    content = f"q {WIDTH} 0 0 {HEIGHT * share} 0 0 cm /Plain Do Q\n"
    assert not found(drawn_pdf(content + TYPED, {"Plain": Image.new("L", (10, 10), 200)})).to_read


def test_rules_frames_and_charts_are_not_read() -> None:
    rules = "".join(f"72 {100 + 18 * row} m 540 {100 + 18 * row} l S\n" for row in range(20))
    columns = "".join(f"{72 + 52 * column} 100 m {72 + 52 * column} 442 l S\n" for column in range(10))
    bars = "".join(f"{90 + 60 * at} 480 40 {20 * at} re f\n" for at in range(6))
    curve = "72 480 m 200 700 300 400 540 650 c S\n"
    assert not found(drawn_pdf(rules + columns + bars + curve + HEADER)).to_read


def test_a_layer_stands_for_the_print_beneath_it() -> None:
    own = found(drawn_pdf(whole_page() + layer(), {"Scan": scan()}))
    assert (text_of(own), own.to_read) == (" ".join(pictures.LINES), False)
    assert words_of([own.layer]) == words_of(own.blocks)


def test_what_a_layer_lacks_is_read_and_nothing_else() -> None:
    content = drawn_pdf(whole_page() + layer(0, 3), {"Scan": scan()})
    own = found(content)
    assert own.to_read
    drawn = draw_small(pypdfium2.PdfDocument(content)[0])
    own.blank_out_layer(drawn)
    width, height = drawn.size
    middle = int(height * (72 * 2.15) / HEIGHT)
    assert not has_print(drawn.crop((0, 0, width, middle)))
    assert has_print(drawn.crop((0, middle, width, height)))


def test_a_few_letters_are_no_reading_of_a_page() -> None:
    assert judged(drawn_pdf(whole_page() + layer(0, 1), {"Scan": scan()})) is None


def test_a_layer_of_another_page_is_not_taken() -> None:
    elsewhere = "".join(text(line, 72, 300 - 40 * at, 14, mode=3) for at, line in enumerate(pictures.LINES))
    assert judged(drawn_pdf(whole_page() + elsewhere, {"Scan": scan()})) is None


def test_text_beneath_a_scan_is_its_layer() -> None:
    own = found(drawn_pdf(layer(mode=0) + whole_page(), {"Scan": scan()}))
    assert (text_of(own), own.to_read) == (" ".join(pictures.LINES), False)
    assert words_of([own.layer]) == words_of(own.blocks)


@pytest.mark.parametrize(
    "unseen",
    [
        f"/OC /Hidden BDC {HEADER} EMC\n",
        HEADER.replace("BT", "1 g BT"),
        text("Printer's notes outside the page", 72, HEIGHT + 20),
        f"q 0 0 10 10 re W n {HEADER} Q\n",
    ],
    ids=["hidden", "white", "outside", "clipped"],
)
def test_what_nobody_sees_is_no_text_of_the_page(unseen: str) -> None:
    content = "q " + whole_page() + f"{unseen} Q\n"
    assert judged(drawn_pdf(content, {"Scan": scan()}, hidden_group)) is None
    own = found(drawn_pdf(TYPED + "q " + unseen + "Q\n", {}, hidden_group))
    assert text_of(own) == " ".join(pictures.LINES)


@pytest.mark.parametrize(
    "words",
    ["Wkh txlfn eurzq ira mxpsv ryhu wkh odcb grj dqg vrph pruh ri wkhp", ".,; :. ,.; -- '. ,; .: ,. ;. :, ., ;'"],
)
def test_words_of_no_language_are_doubted(words: str) -> None:
    assert found(drawn_pdf(text(words, 72, 700))).doubted


def test_the_page_is_drawn_as_before_when_it_has_been_judged() -> None:
    page = pypdfium2.PdfDocument(drawn_pdf(whole_page() + layer(mode=0) + TYPED, {"Scan": scan()}))[0]
    before = draw_small(page).tobytes()
    own = judge(page)
    assert own is not None
    with own.left_out(page):
        assert draw_small(page).tobytes() != before
    assert draw_small(page).tobytes() == before

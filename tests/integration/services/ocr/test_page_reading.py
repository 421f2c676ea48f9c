"""A page with text of its own and pictures: what a person sees is read once, and is where it is seen."""

import io
import json

import pikepdf
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from services.ocr.page_reading import FULL_DPI
from services.ocr.pdf_page import open_page
from tests import pictures
from tests.drawn_pdf import add_field, add_note, drawn_pdf, layer, scan, strips, text, whole_page
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import TEXT, words_of
from tests.integration.services.ocr.word_places import words_of_pdf, words_off_their_ink
from tests.pictures import word_f1


async def test_text_beside_pictures_of_text(reader: Reader) -> None:
    """A page with text of its own and a picture that has some too: both are found, each once."""
    picture = Image.new("L", (900, 300), 255)
    font = ImageFont.load_default(size=60)
    ImageDraw.Draw(picture).text((40, 100), "Harbour master only", fill=0, font=font)
    with pikepdf.open(io.BytesIO(pictures.text_pdf("Typed by a machine long ago"))) as document:
        stream = pikepdf.Stream(document, picture.tobytes())
        stream.Type, stream.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        stream.Width, stream.Height = picture.size
        stream.ColorSpace, stream.BitsPerComponent = pikepdf.Name.DeviceGray, 8
        page = document.pages[0]
        page.Resources.XObject = pikepdf.Dictionary(P=document.make_indirect(stream))
        page.contents_add(document.make_stream(b"q 450 0 0 150 72 300 cm /P Do Q"))
        buffer = io.BytesIO()
        document.save(buffer)
    done = await reader.read(buffer.getvalue())
    text = await reader.text(done)
    assert text.count("machine") == text.count("Harbour") == 1
    (found,) = await reader.words(done)
    assert found["source"] == "mixed"
    confidences = {word["text"]: word["confidence"] for word in words_of([found])}
    assert confidences["machine"] == 100
    assert 70 < confidences["Harbour"] < 100
    (sheet,) = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    shown = sheet.get_textpage().get_text_range()
    assert shown.count("machine") == shown.count("Harbour") == 1


STAMP = "ARCHIVE COPY 000417"
WRONG = (
    "Wkh txlfn eurzq ira mxpsv ryhu wkh odcb grj.",
    "Sdfn pb era zlwk ilyh grchq oltxru mxjv.",
    "Hyhub vfdq lv d slfwxuh xqwlo vrphergb uhdgv lw.",
    "Wzhoyh vdloruv ordghg qlqhwb eduuhov ehiruh qrrq.",
)
"""What a layer has in place of LINES."""


def stamped_strips() -> bytes:
    content, parts = strips(scan(), 16)
    return drawn_pdf(content + text(STAMP, 380, 60), parts)


def large_box(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    sheet.CropBox = pikepdf.Array([-90, -40, 900, 999])


def turned(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    sheet.Rotate = 180


def cut_and_turned(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    turned(document, sheet)
    sheet.CropBox = pikepdf.Array([20, 10, 612, 792])


ON_A_SCAN: dict[str, tuple[bytes, str]] = {
    "strips and stamp": (stamped_strips(), f"{TEXT} {STAMP}"),
    "half a layer": (drawn_pdf(whole_page() + layer(0, 3), {"Scan": scan()}), TEXT),
    "scale left in force": (
        drawn_pdf("0.24 0 0 0.24 0 0 cm q 2550 0 0 3300 0 0 cm /Scan Do Q", {"Scan": scan()}),
        TEXT,
    ),
    "restored too often": (drawn_pdf(whole_page() + "Q Q", {"Scan": scan()}), TEXT),
    "large CropBox": (drawn_pdf(whole_page(), {"Scan": scan()}, large_box), TEXT),
    "cut and turned": (drawn_pdf(whole_page(), {"Scan": scan().rotate(180)}, cut_and_turned), TEXT),
    "note": (
        drawn_pdf(whole_page(), {"Scan": scan()}, lambda pdf, sheet: add_note(pdf, sheet, "Sign before Friday")),
        f"{TEXT} Sign before Friday",
    ),
    "field": (
        drawn_pdf(whole_page(), {"Scan": scan()}, lambda pdf, sheet: add_field(pdf, sheet, "Evening Heron")),
        f"{TEXT} Evening Heron",
    ),
}


@pytest.mark.parametrize("name", ON_A_SCAN)
async def test_all_that_is_seen_is_read_and_every_word_lies_on_its_ink(reader: Reader, name: str) -> None:
    content, truth = ON_A_SCAN[name]
    done = await reader.read(content, dpi=150)
    assert word_f1(await reader.text(done), truth) > 0.95
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, await reader.words(done)) == []
    shown = " ".join(word for word, _ in words_of_pdf(open_page(pypdfium2.PdfDocument(document), 1)))
    assert word_f1(shown, truth) > 0.95
    assert done.result["warnings"] == []


@pytest.mark.parametrize(
    "content",
    [
        drawn_pdf(text("on the third of March to con-", 72, 700) + text("sider the new regulations", 72, 686)),
        drawn_pdf("BT /F1 24 Tf 72 700 Td [(The) -130 (lighthouse) -130 (keeper) -130 (wrote)] TJ ET"),
        drawn_pdf(text("Typed by a machine", 72, 700), change=turned),
    ],
    ids=["hyphens", "tight", "turned"],
)
async def test_every_word_of_a_page_of_text_lies_on_its_ink(reader: Reader, content: bytes) -> None:
    done = await reader.read(content, dpi=100)
    pages = await reader.words(done)
    assert len(words_of(pages)) in (4, 11)
    everything = json.dumps(pages, ensure_ascii=False) + await reader.text(done)
    assert not {"\ufffe", "\x02"} & set(everything)
    ink = pypdfium2.PdfDocument(content)[0].render(scale=100 / 72, grayscale=True).to_pil()
    for word in words_of(pages):
        assert ink.crop(word["box"]).getextrema()[0] < 100, word


async def test_a_layer_of_no_language_gives_way_to_the_picture(reader: Reader) -> None:
    content = drawn_pdf(whole_page() + layer(words=WRONG), {"Scan": scan()})
    done = await reader.read(content, dpi=150)
    assert word_f1(await reader.text(done), TEXT) > 0.95
    assert [(one["code"], one["pages"]) for one in done.result["warnings"]] == [("text_layer_replaced", [1])]
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, await reader.words(done)) == []
    assert "txlfn" not in pypdfium2.PdfDocument(document)[0].get_textpage().get_text_range()
    kept = await reader.read(content, dpi=150, text="keep")
    assert word_f1(await reader.text(kept), " ".join(WRONG)) > 0.95
    assert kept.result["warnings"] == []


async def test_a_wrong_layer_of_real_words_is_read_over_when_asked(reader: Reader) -> None:
    other = ("Some other words were here", "and they are in a language", "that is known", "but not printed there")
    content = drawn_pdf(whole_page() + layer(words=other), {"Scan": scan()})
    assert word_f1(await reader.text(await reader.read(content, dpi=150)), " ".join(other)) > 0.9
    done = await reader.read(content, dpi=150, text="replace")
    assert word_f1(await reader.text(done), TEXT) > 0.95
    document = await reader.artifact(done, "document.pdf")
    assert "language" not in pypdfium2.PdfDocument(document)[0].get_textpage().get_text_range()


async def test_a_layer_that_lies_beside_the_print_gives_way_to_it(reader: Reader) -> None:
    moved = f"q 1 0 0 1 0 -80 cm {layer()}Q"
    done = await reader.read(drawn_pdf(whole_page() + moved, {"Scan": scan()}), dpi=150)
    assert word_f1(await reader.text(done), TEXT) > 0.95
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, await reader.words(done)) == []


async def test_a_page_of_a_few_centimetres_is_read_as_finely_as_its_print_needs(reader: Reader) -> None:
    def small(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.MediaBox = pikepdf.Array([0, 0, 153, 198])

    picture = pictures.page(dpi=200)
    done = await reader.read(drawn_pdf("q 153 0 0 198 0 0 cm /Scan Do Q", {"Scan": picture}, small))
    assert word_f1(await reader.text(done), TEXT) > 0.95
    (page,) = await reader.words(done)
    assert page["dpi"] == 2 * FULL_DPI
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, [page]) == []


async def test_odd_words_that_the_picture_has_too_are_kept(reader: Reader) -> None:
    done = await reader.read(drawn_pdf("".join(text(line, 72, 700 - 30 * at) for at, line in enumerate(WRONG))))
    (page,) = await reader.words(done)
    assert page["source"] == "text-layer"
    assert done.result["warnings"] == []


async def test_text_is_kept_and_nothing_else_read_when_asked(reader: Reader) -> None:
    done = await reader.read(stamped_strips(), text="keep")
    assert (await reader.text(done)).split() == STAMP.split()

"""With `rotate`, pages that were recognised as turned are upright in document.pdf, their words on the print."""

import io
from typing import Any

import pikepdf
import pypdfium2
from PIL import Image

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.word_places import words_off_their_ink

DPI = 100


def sheet(turned: int) -> Image.Image:
    """A page that has to be turned counterclockwise by so many degrees to be upright."""
    return pictures.page(dpi=DPI).rotate(-turned, expand=True)


def pdf(*pages: tuple[int, dict[str, Any]]) -> bytes:
    """Scans that are turned by so many degrees, with entries of their pages."""
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(pictures.scanned_pdf([sheet(turned) for turned, _ in pages], DPI))) as document:
        for page, (_, entries) in zip(document.pages, pages, strict=True):
            for key, value in entries.items():
                page[key] = value
        document.save(buffer)
    return buffer.getvalue()


def cropped(turned: int, margin: int = 20) -> tuple[int, dict[str, Any]]:
    """A page whose MediaBox does not begin at zero, and of which a margin is not shown."""
    width, height = (round(edge * 72 / DPI) for edge in sheet(turned).size)
    return turned, {"/CropBox": [margin, margin + 5, width - margin, height - margin - 9], "/Rotate": 90}


async def assert_upright(reader: Reader, done: Any, turned: list[int]) -> None:
    pages = await reader.words(done)
    assert [page["rotation"] for page in pages] == turned
    assert [warning["code"] for warning in done.result["warnings"]] == []
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, pages, upright=True) == []
    for page in pypdfium2.PdfDocument(document):
        ink = page.render(grayscale=True).to_pil().convert("L").point(lambda level: 255 * (level < 128)).getbbox()
        assert ink is not None
        assert ink[3] < page.get_height() / 2, "the print is in the upper half of the sheet"


async def test_scans_in_a_pdf(reader: Reader) -> None:
    """However the file itself shows them: what is shown is turned further."""
    content = pdf((90, {"/Rotate": 90}), cropped(180), (270, {"/Rotate": 90}))
    done = await reader.read(content, rotate=True)
    await assert_upright(reader, done, [180, 270, 0])


async def test_pictures(reader: Reader) -> None:
    frames = [sheet(turned) for turned in (90, 180)]
    tiff = pictures.encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:], dpi=(DPI, DPI))
    await assert_upright(reader, await reader.read(tiff, rotate=True), [90, 180])


async def test_a_photo_that_says_wrongly_how_it_was_held(reader: Reader) -> None:
    exif = Image.Exif()
    exif[0x0112] = 7  # turned and mirrored
    photo = pictures.encoded(sheet(270).transpose(Image.Transpose.TRANSVERSE), "JPEG", exif=exif, dpi=(DPI, DPI))
    await assert_upright(reader, await reader.read(photo, rotate=True), [270])


async def test_pages_with_text_of_their_own(reader: Reader) -> None:
    """A page of text stays as it is, and so does one with a picture on its side. A scan with a stamp is turned."""
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf((180, {}), (90, {})))) as document:
        for number, (text, top) in enumerate((("Stamp", 700), ("A text of the file itself. " * 40, 500))):
            page = document.pages[number]
            page.Resources.Font = pikepdf.Dictionary(
                F=document.make_indirect(
                    pikepdf.Dictionary(
                        Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
                    )
                )
            )
            lines = " ".join(f"({text[start : start + 80]}) Tj T*" for start in range(0, len(text), 80))
            page.contents_add(f"BT /F 9 Tf 11 TL 40 {top} Td {lines} ET".encode())
        typed = pikepdf.open(io.BytesIO(pictures.text_pdf("typed")))
        document.pages.append(typed.pages[0])
        document.save(buffer)
    done = await reader.read(buffer.getvalue(), rotate=True)
    with pikepdf.open(io.BytesIO(await reader.artifact(done, "document.pdf"))) as written:
        assert [int(page.get("/Rotate", 0)) for page in written.pages] == [180, 0, 0]

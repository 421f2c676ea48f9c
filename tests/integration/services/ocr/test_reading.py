"""The OCR handler with the real Tesseract: what it reads, and how it refuses what it cannot."""

import asyncio
import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pikepdf
import psutil
import pypdfium2
import pytest
from PIL import Image

from libs.common.contracts.ocr import OcrOptions, OcrPayload
from libs.common.testkit import run_inline
from services.gateway.endpoints.uploads import media_type_of
from services.ocr import refusals
from services.ocr.handler import handle
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.pictures import LINES, WORDS, word_f1
from tests.polling import until

TURNED = Image.Exif()
TURNED[0x0112] = 6  # stored a quarter turn to the left; to be shown a quarter turn to the right


@pytest.mark.parametrize(
    "content",
    [
        pictures.encoded(pictures.page(), "PNG"),
        pictures.encoded(pictures.page(mode="RGBA"), "PNG"),
        pictures.encoded(pictures.page(mode="RGB"), "JPEG", quality=85),
        pictures.encoded(pictures.page().rotate(90, expand=True), "JPEG", exif=TURNED),
        pictures.encoded(pictures.page(mode="RGB").convert("CMYK"), "JPEG"),
        pictures.encoded(pictures.page(), "WEBP"),
        pictures.encoded(pictures.page().convert("1"), "TIFF", compression="group4"),
        pictures.encoded(pictures.page().convert("I").point(lambda v: v * 257).convert("I;16"), "PNG"),
        pictures.scanned_pdf([pictures.page()]),
    ],
    ids=["png", "png-alpha", "jpeg", "jpeg-turned", "jpeg-cmyk", "webp", "tiff-fax", "png-16bit", "pdf"],
)  # fmt: skip
async def test_every_format_is_read(reader: Reader, content: bytes) -> None:
    done = await reader.read(content)
    assert word_f1(await reader.text(done), " ".join(LINES)) > 0.95
    assert done.result["pages"] == 1
    assert done.result["confidence"] > 80
    assert done.result["language"] == "eng"
    assert done.result["preview"].startswith("The quick brown fox")


async def test_words_have_their_places(reader: Reader) -> None:
    done = await reader.read(pictures.encoded(pictures.page(), "PNG", dpi=(150, 150)))
    (page,) = await reader.words(done)
    assert (page["number"], page["width"], page["height"], page["dpi"], page["source"]) == (
        1,
        1275,
        1650,
        150,
        "ocr",
    )
    words = [word for block in page["blocks"] for line in block["lines"] for word in line["words"]]
    assert {word["text"].strip(".").lower() for word in words} == WORDS
    for word in words:
        left, top, right, bottom = word["box"]
        assert 0 <= left < right <= 1275
        assert 0 <= top < bottom <= 1650
        assert 0 <= word["confidence"] <= 100
    first = words[0]["box"]
    assert 140 <= first[0] <= 165  # the text begins one inch from the left and the top
    assert 140 <= first[1] <= 175
    for block in page["blocks"]:
        for line in block["lines"]:
            assert line["box"][0] == min(word["box"][0] for word in line["words"])


async def test_pages_of_a_tiff_and_progress(reader: Reader) -> None:
    pages = [pictures.page([f"Page number {name} stands here."]) for name in ("one", "two", "three")]
    content = pictures.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    reader.progress.clear()
    done = await reader.read(content)
    texts = (await reader.text(done)).split("\f")
    assert [name in text for name, text in zip(("one", "two", "three"), texts, strict=False)] == [True] * 3
    assert [step["done"] for step in reader.progress] == [1, 2, 3, 3]
    assert {step["total"] for step in reader.progress} == {3}
    with pikepdf.open(_file(await reader.artifact(done, "document.pdf"))) as document:
        assert len(document.pages) == 3


async def test_only_the_pages_asked_for(reader: Reader) -> None:
    names = ("one", "two", "three", "four")
    content = pictures.scanned_pdf([pictures.page([f"Page number {name} stands here."]) for name in names])
    done = await reader.read(content, pages="4,2")
    text = await reader.text(done)
    assert text.index("two") < text.index("four")
    assert "one" not in text
    assert [page["number"] for page in await reader.words(done)] == [2, 4]
    document = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    assert ["two" in page.get_textpage().get_text_range() for page in document] == [True, False]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
async def test_the_searchable_pdf_keeps_its_pictures_and_has_the_words_over_them(
    reader: Reader, rotation: int
) -> None:
    content = _turned(pictures.scanned_pdf([pictures.page()]), rotation)
    done = await reader.read(content, dpi=150)
    result = await reader.artifact(done, "document.pdf")
    with pikepdf.open(_file(content)) as before, pikepdf.open(_file(result)) as after:
        pictures_of = [next(iter(document.pages[0].get_images().values())) for document in (before, after)]
        assert pictures_of[0].read_raw_bytes() == pictures_of[1].read_raw_bytes()
    (page,) = pypdfium2.PdfDocument(result)
    textpage = page.get_textpage()
    text = textpage.get_text_range()
    assert word_f1(text, " ".join(LINES)) > 0.95
    # Where a reader of the PDF finds a word is where the picture shows it.
    left, bottom, right, top = textpage.get_charbox(text.index("quick"))
    seen = next(
        word
        for page_ in await reader.words(done)
        for block in page_["blocks"]
        for line in block["lines"]
        for word in line["words"]
        if word["text"] == "quick"
    )
    corners = [_to_visible(page, left, bottom), _to_visible(page, right, top)]
    x, y = min(corner[0] for corner in corners), max(corner[1] for corner in corners)
    assert abs(x - seen["box"][0] * 72 / 150) < 4
    assert abs(y - seen["box"][3] * 72 / 150) < 6


@pytest.mark.skipif(
    not (shutil.which("pdftotext") and shutil.which("qpdf")), reason="no poppler-utils and qpdf here"
)
async def test_other_readers_of_pdf_find_no_fault_and_the_same_words(reader: Reader, tmp_path: Path) -> None:
    # -raw: by default pdftotext puts lines that slope by more than two degrees in an order of its own, anybody's.
    skewed = pictures.encoded(pictures.page().rotate(3, fillcolor=255), "JPEG", dpi=(150, 150))
    for content in (pictures.scanned_pdf([pictures.page(), pictures.page(["Another page"])]), skewed):
        done = await reader.read(content)
        path = pictures.write(tmp_path, "document.pdf", await reader.artifact(done, "document.pdf"))
        checked = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        found = subprocess.run(["pdftotext", "-raw", path, "-"], capture_output=True, text=True, check=True)
        assert not found.stderr
        assert word_f1(found.stdout, await reader.text(done)) > 0.98


async def test_a_page_with_text_keeps_it(reader: Reader) -> None:
    content = pictures.text_pdf("Typed by a machine long ago")
    done = await reader.read(content)
    assert (await reader.text(done)).strip("\f\n ") == "Typed by a machine long ago"
    (page,) = await reader.words(done)
    assert page["source"] == "text-layer"
    assert done.result["confidence"] is None
    words = page["blocks"][0]["lines"][0]["words"]
    assert [word["text"] for word in words] == ["Typed", "by", "a", "machine", "long", "ago"]
    left, top, right, bottom = words[0]["box"]
    assert abs(left - 300) < 10  # 72 points from the left, at 300 dpi
    assert 300 < top < bottom < 420
    assert left < right


async def test_a_huge_page_is_scaled_down_not_refused(reader: Reader) -> None:
    big = pictures.page(dpi=600).resize((10_200, 13_200))
    done = await reader.read(pictures.encoded(big, "PNG"))
    (page,) = await reader.words(done)
    assert page["width"] * page["height"] <= 4_000_000 * 1.01
    assert word_f1(await reader.text(done), " ".join(LINES)) > 0.9


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", refusals.EmptyDocument),
        (b"%PDF-1.7\ngarbage", refusals.UnreadableDocument),
        (pictures.text_pdf("x")[:200], refusals.UnreadableDocument),
        (pictures.encrypted_pdf(), refusals.EncryptedDocument),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), refusals.UnreadableDocument),
        (pictures.encoded(pictures.page(), "PNG")[:3000], refusals.UnreadableDocument),
        (pictures.encoded(pictures.page(mode="RGB"), "JPEG")[:500], refusals.UnreadableDocument),
        (pictures.encoded(Image.new("1", (25_000, 25_000)), "PNG"), refusals.ImageTooLarge),
        (pictures.scanned_pdf([pictures.page(dpi=20)] * 21), refusals.TooManyPages),
    ],
    ids=["empty", "garbage", "cut-pdf", "encrypted", "bad-png", "cut-png", "cut-jpeg", "bomb", "many-pages"],
)
async def test_what_cannot_be_read_is_refused_by_name(
    reader: Reader, content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await reader.read(content, media_type_of(content))
    assert (await reader.read(pictures.text_pdf("still alive"))).result["pages"] == 1


async def test_a_language_that_is_not_installed_is_refused_with_those_that_are(reader: Reader) -> None:
    with pytest.raises(refusals.LanguageNotInstalled, match=r"Not installed: tlh\. Installed: .*eng"):
        await reader.read(pictures.text_pdf("x"), languages=["eng", "tlh"])


async def test_a_missing_page_and_a_missing_upload_are_refused(reader: Reader) -> None:
    with pytest.raises(refusals.NoSuchPage):
        await reader.read(pictures.text_pdf("x"), pages="2")
    payload = OcrPayload(source="nowhere", filename="f", media_type="image/png", options=OcrOptions())
    with pytest.raises(refusals.SourceMissing):
        await run_inline(handle, payload, reader.deps)


async def test_cancelling_ends_the_processes_of_the_pages(reader: Reader) -> None:
    reading = asyncio.create_task(reader.read(pictures.scanned_pdf([pictures.page(dpi=300)] * 6, dpi=300)))
    await until(engines)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not await engines()


async def engines() -> bool:
    """Whether Tesseract runs for this process."""
    try:
        return any("tesseract" in child.name() for child in psutil.Process().children(recursive=True))
    except psutil.NoSuchProcess:
        return False


async def test_real_scans(reader: Reader, scans: Path) -> None:
    done = await reader.read((scans / "linn.png").read_bytes())
    assert word_f1(await reader.text(done), (scans / "linn.txt").read_text()) >= 0.95
    done = await reader.read((scans / "multipage.pdf").read_bytes())
    assert done.result["pages"] == 6


async def test_a_page_of_35000_pixels(reader: Reader, scans: Path) -> None:
    done = await reader.read((scans / "hugemono.pdf").read_bytes())
    (page,) = await reader.words(done)
    assert page["width"] * page["height"] <= 4_000_000 * 1.01


async def test_a_damaged_scan(reader: Reader, scans: Path) -> None:
    with pytest.raises(refusals.UnreadableDocument):
        await reader.read((scans / "invalid.pdf").read_bytes(), "application/pdf")


def _file(content: bytes) -> Any:
    return io.BytesIO(content)


def _turned(content: bytes, rotation: int) -> bytes:
    """The same page stored turned, with /Rotate to turn it back."""
    buffer = _file(b"")
    with pikepdf.open(_file(content)) as document:
        page = document.pages[0]
        if rotation:
            image = pictures.page().rotate(rotation, expand=True)
            with pikepdf.open(_file(pictures.scanned_pdf([image]))) as turned:
                document.pages.append(turned.pages[0])
                del document.pages[0]
                page = document.pages[0]
        page.Rotate = rotation
        document.save(buffer)
    result: bytes = buffer.getvalue()
    return result


def _to_visible(page: pypdfium2.PdfPage, x: float, y: float) -> tuple[float, float]:
    """A point of the page's own space, as points from the left and the top of the page as shown."""
    left, bottom, right, top = page.get_mediabox()
    match page.get_rotation():
        case 90:
            return y - bottom, x - left
        case 180:
            return right - x, y - bottom
        case 270:
            return top - y, right - x
    return x - left, top - y

"""Documents of every format are opened; what cannot be is refused by name."""

import contextlib
import gc
import json
from pathlib import Path

import psutil
import pytest
from PIL import Image

from libs.common.errors import Reject
from services.gateway.endpoints.uploads import media_type_of
from services.ocr import refusals
from services.ocr.refusals import PageCrashed
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.hostile import CORPUS, bomb_png
from tests.pictures import LINES, word_f1

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
        pictures.encoded(pictures.page(mode="RGB"), "HEIF"),
        pictures.encoded(pictures.page(mode="RGB"), "AVIF"),
        pictures.encoded(pictures.page(), "GIF"),
        pictures.encoded(pictures.page(), "BMP"),
        pictures.encoded(pictures.page(), "JPEG2000"),
    ],
    ids=[
        *("png", "png-alpha", "jpeg", "jpeg-turned", "jpeg-cmyk", "webp", "tiff-fax", "png-16bit", "pdf"),
        *("heic", "avif", "gif", "bmp", "jp2"),
    ],
)  # fmt: skip
async def test_every_format_is_read(reader: Reader, content: bytes) -> None:
    done = await reader.read(content)
    assert word_f1(await reader.text(done), " ".join(LINES)) > 0.95
    assert done.result["pages"] == 1
    assert done.result["confidence"] > 80
    assert done.result["language"] == "eng"
    assert done.result["preview"].startswith("The quick brown fox")
    assert done.result["warnings"] == []


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
        (bomb_png(25_000), refusals.ImageTooLarge),
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


async def test_a_page_of_35000_pixels(reader: Reader, scans: Path) -> None:
    done = await reader.read((scans / "hugemono.pdf").read_bytes())
    (page,) = await reader.words(done)
    assert page["width"] * page["height"] <= 4_000_000 * 1.01


async def test_a_damaged_scan(reader: Reader, scans: Path) -> None:
    with pytest.raises(refusals.UnreadableDocument):
        await reader.read((scans / "invalid.pdf").read_bytes(), "application/pdf")


GROWTH_AT_MOST = 50_000_000
"""Bytes that this process may be larger after the whole corpus."""


@pytest.fixture(scope="module")
def resident_before() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("name", CORPUS)
async def test_a_hostile_file_is_read_or_refused(reader: Reader, resident_before: int, name: str) -> None:
    with contextlib.suppress(Reject, PageCrashed):  # anything else is no typed error
        done = await reader.read(CORPUS[name]())
        assert done.result["pages"] >= 1
        json.dumps(await reader.words(done))
    alive = await reader.read(pictures.text_pdf(f"after {name}"))
    assert name in await reader.text(alive)
    gc.collect()
    assert psutil.Process().memory_info().rss < resident_before + GROWTH_AT_MOST
    names = {child.name() for child in psutil.Process().children(recursive=True)}
    assert "tesseract" not in names


@pytest.mark.parametrize("name", ["png-bomb", "tiff-bomb", "pdf-encrypted", "pdf-header-only"])
async def test_what_cannot_be_read_is_refused(reader: Reader, name: str) -> None:
    with pytest.raises(Reject):
        await reader.read(CORPUS[name]())


async def test_a_file_that_is_not_what_it_was_sent_as(reader: Reader) -> None:
    for content, media_type in (
        (pictures.text_pdf("x"), "image/png"),
        (pictures.encoded(pictures.page(), "PNG"), "application/pdf"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "image/tiff"),
    ):
        with pytest.raises(Reject):
            await reader.read(content, media_type)

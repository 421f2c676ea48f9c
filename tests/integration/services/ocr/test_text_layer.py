"""The text that a PDF has is kept, and is where it is seen."""

import io

import pikepdf
import pypdfium2
import pytest

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import words_of


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
async def test_text_of_turned_and_cropped_pages_is_where_it_is_seen(reader: Reader, rotation: int) -> None:
    with pikepdf.open(io.BytesIO(pictures.text_pdf("Typed by a machine long ago"))) as document:
        document.pages[0].Rotate = rotation
        document.pages[0].CropBox = pikepdf.Array([30, 100, 600, 760])
        buffer = io.BytesIO()
        document.save(buffer)
    content = buffer.getvalue()
    (page,) = await reader.words(await reader.read(content, dpi=100))
    drawn = pypdfium2.PdfDocument(content)[0].render(scale=100 / 72, grayscale=True).to_pil()
    assert abs(drawn.width - page["width"]) <= 1
    box = next(word["box"] for word in words_of([page]) if word["text"] == "machine")
    inked = drawn.point(lambda value: 255 * (value < 128)).crop(box)
    assert sum(inked.histogram()[255:]) > 50


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

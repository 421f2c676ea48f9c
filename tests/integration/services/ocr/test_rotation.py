"""A page is read however it lies, and its words are where they are seen."""

from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from services.ocr.tesseract import Kind
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import TEXT, words_of
from tests.pictures import word_f1


@pytest.mark.parametrize("engine", ["tesseract", "tesserocr"])
@pytest.mark.parametrize("skew", [0, 4])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
async def test_a_page_is_read_however_it_lies(reader: Reader, turned: int, skew: int, engine: Kind) -> None:
    """And its words are where they are seen, in words.json and in the PDF alike."""
    reader = await reader.with_engine(engine)
    image = pictures.page(dpi=150).rotate(skew, Image.Resampling.BICUBIC, fillcolor=255)
    image = image.rotate(turned, expand=True)
    done = await reader.read(pictures.encoded(image, "PNG", dpi=(150, 150)))
    assert word_f1(await reader.text(done), TEXT) > 0.95
    (page,) = await reader.words(done)
    assert (page["width"], page["height"]) == image.size
    seen = next(word["box"] for word in words_of([page]) if word["text"] == "dozen")
    shown = image.crop(seen).convert("L")
    assert min(shown.tobytes()) < 100 < max(shown.tobytes())  # there is ink in the box, and paper
    (sheet,) = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    textpage = sheet.get_textpage()
    place = textpage.get_text_range().index("dozen")
    left, bottom, right, top = textpage.get_charbox(place)
    x, y = (left + right) / 2 * 150 / 72, (sheet.get_height() - (bottom + top) / 2) * 150 / 72
    assert seen[0] - 8 <= x <= seen[2] + 8
    assert seen[1] - 8 <= y <= seen[3] + 8


async def test_skewed_scans_are_read_as_well_as_the_straight_one(reader: Reader, scans: Path) -> None:
    truth = (scans / "linn.txt").read_text()
    straight = word_f1(await reader.text(await reader.read((scans / "linn.png").read_bytes())), truth)
    for name in ("skew.pdf", "rotated_skew.pdf"):
        done = await reader.read((scans / name).read_bytes())
        assert word_f1(await reader.text(done), truth) > straight - 0.02, name

"""What one look leaves unread, another finds; and what was read well is looked at once."""

from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import TEXT, committed
from tests.integration.services.ocr.word_places import words_off_their_ink
from tests.pictures import word_f1


def in_shadow(page: Image.Image, share: float = 1.0) -> Image.Image:
    """In light that falls to an eighth over this share of the page, from right to left."""
    light = Image.linear_gradient("L").rotate(90).point(lambda level: 32 + level * 223 // 255)
    width = int(page.width * share)
    shade = Image.new("L", page.size, 255)
    shade.paste(light.resize((width, page.height)), (0, 0))
    return Image.merge(page.mode, [ImageChops.multiply(channel, shade) for channel in page.split()])


def marked(page: Image.Image) -> Image.Image:
    marker = Image.new("RGB", page.size, "white")
    ImageDraw.Draw(marker).rectangle((100, 195, 1200, 290), fill=(200, 40, 50))
    return ImageChops.multiply(page, marker)


def stamped(page: Image.Image) -> Image.Image:
    stamp = Image.new("RGB", page.size, "white")
    font = ImageFont.load_default(size=150)
    ImageDraw.Draw(stamp).text((150, 150), "RECEIVED", fill=(215, 60, 60), font=font)
    return ImageChops.multiply(page, stamp)


def ruled(page: Image.Image, *, step: int = 39, level: int = 90, down: bool = False) -> Image.Image:
    """On paper with rules, some of which cross the letters."""
    paper = Image.new("RGB", page.size, "white")
    canvas = ImageDraw.Draw(paper)
    for place in range(step, page.height, step):
        canvas.line((0, place, page.width, place), fill=(level, level, level), width=2)
        if down:
            canvas.line((place, 0, place, page.height), fill=(level, level, level), width=2)
    return ImageChops.multiply(page, paper)


async def read(reader: Reader, image: Image.Image, kind: str = "PNG") -> tuple[str, dict[str, Any]]:
    """The text, and the page of words.json with the number of passes."""
    done = await reader.read(pictures.encoded(image, kind, dpi=(150, 150)))
    (page,) = await reader.words(done)
    await committed(reader, done)
    (row,) = await reader.deps.database.fetch("SELECT summary FROM ocr.readings ORDER BY read_at DESC LIMIT 1")
    assert row[0]["unread_area"] == page["unread_area"]
    return await reader.text(done), page | {"passes": row[0]["passes"]}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "look",
    [in_shadow, lambda page: in_shadow(page, 0.6), marked, stamped, lambda page: in_shadow(marked(page))],
    ids=["shadow", "half-shadow", "marker", "stamp", "marker-in-shadow"],
)
async def test_shadows_markers_and_stamps_hide_nothing(reader: Reader, look: Any, kind: str) -> None:
    text, page = await read(reader, look(pictures.page(mode="RGB")), kind)
    assert word_f1(text, TEXT) > 0.9
    assert page["unread_area"] < 0.002


@pytest.mark.parametrize(
    "paper",
    [ruled, lambda page: ruled(page, level=180, down=True), lambda page: in_shadow(ruled(page))],
    ids=["ruled", "squared", "ruled-in-shadow"],
)
async def test_rules_of_the_paper_hide_nothing(reader: Reader, paper: Any) -> None:
    text, _ = await read(reader, paper(pictures.page(mode="RGB")))
    assert word_f1(text, TEXT) > 0.9


async def test_a_picture_is_read_whatever_resolution_it_claims_to_have(reader: Reader) -> None:
    done = await reader.read(pictures.encoded(pictures.page(), "PNG", dpi=(1200, 1200)))
    assert word_f1(await reader.text(done), TEXT) > 0.95
    document = await reader.artifact(done, "document.pdf")
    assert words_off_their_ink(document, await reader.words(done)) == []


async def test_a_page_that_was_read_well_is_looked_at_once(reader: Reader) -> None:
    pale = pictures.page().point(lambda level: 200 + level * 55 // 255)
    for image in (pictures.page(), pale):
        text, page = await read(reader, image)
        assert word_f1(text, TEXT) == 1.0
        assert (page["passes"], page["unread_area"]) == (1, 0.0)


async def test_a_picture_that_only_the_engine_cannot_decode_is_decoded_for_it(reader: Reader) -> None:
    content = pictures.encoded(pictures.page(mode="RGB"), "JPEG", quality=90)
    junk = content[:-2000] + b"\x00" + bytes(range(1, 32)) + content[-2000:]
    done = await reader.read(junk)
    assert word_f1(await reader.text(done), TEXT) > 0.95

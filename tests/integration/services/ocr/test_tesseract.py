"""Words as Tesseract places them."""

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.pictures import WORDS


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

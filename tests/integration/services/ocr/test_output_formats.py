"""The formats of a document that was read."""

import xml.etree.ElementTree as ET

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import words_of
from tests.pictures import LINES


async def test_every_format_says_the_same(reader: Reader) -> None:
    lines = ["Fish & Chips <fresh> daily", *LINES]
    content = pictures.scanned_pdf([pictures.page(lines), pictures.page(["The second page."])])
    done = await reader.read(content)
    words = [word["text"] for word in words_of(await reader.words(done))]
    hocr = ET.fromstring(await reader.artifact(done, "document.hocr"))  # noqa: S314 - our own
    assert ["".join(e.itertext()) for e in hocr.iter() if e.get("class") == "ocrx_word"] == words
    assert sum(element.get("class") == "ocr_page" for element in hocr.iter()) == 2
    alto = ET.fromstring(await reader.artifact(done, "document.alto.xml"))  # noqa: S314
    assert [element.get("CONTENT") for element in alto.iter() if element.tag.endswith("}String")] == words
    rows = [row.split("\t") for row in (await reader.artifact(done, "words.tsv")).decode().splitlines()]
    assert [row[11] for row in rows if row[0] == "5"] == words
    assert {len(row) for row in rows} == {12}

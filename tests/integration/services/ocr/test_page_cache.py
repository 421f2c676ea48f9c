"""A page that was read before is not read again."""

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import committed


async def test_a_page_read_before_is_not_read_again(reader: Reader) -> None:
    content = pictures.scanned_pdf([pictures.page(["A page that comes twice."]), pictures.page(["Another one."])])
    other = pictures.scanned_pdf([pictures.page(["A page that comes twice."]), pictures.page(["A new one."])])

    async def engine_time(name: bytes, **how: Any) -> list[bool]:
        done = await reader.read(name, **how)
        await committed(reader, done)
        rows = await reader.deps.database.fetch("SELECT count(*) FROM ocr.readings")
        counts.append(rows[0][0])
        return [text.strip() != "" for text in (await reader.text(done)).split("\f")[:2]]

    counts: list[int] = []
    # The runtime commits a child's effects; run inline they are not entered, so the pages are read one by one.
    for number in ("1", "2"):
        await engine_time(content, pages=number)
    before = counts[-1]
    assert await engine_time(content, pages="1") == [True, False]
    assert counts[-1] == before
    await engine_time(other, pages="1")  # another file, the same picture
    assert counts[-1] == before
    await engine_time(content, pages="1", psm=6)
    await engine_time(content, pages="1", tenant="another")
    await engine_time(other, pages="2")
    assert [later - earlier for earlier, later in pairwise(counts[-4:])] == [1, 1, 1]


async def test_a_reading_whose_files_are_gone_is_made_anew(reader: Reader) -> None:
    content = pictures.encoded(pictures.page(["Lost and found again."]), "PNG")
    done = await reader.read(content)
    await committed(reader, done)
    (row,) = await reader.deps.database.fetch("SELECT folder FROM ocr.readings ORDER BY read_at DESC LIMIT 1")
    for suffix in (".txt", ".json", ".pdf"):
        await reader.blobs.delete(f"{row[0]}{suffix}")
    again = await reader.read(content)
    assert "Lost and found again." in await reader.text(again)
    await committed(reader, again)


async def test_a_page_known_from_elsewhere_gets_its_own_number(reader: Reader) -> None:
    """The same picture as page 1 of one document and page 2 of another; ids in the formats are not given twice."""
    known = pictures.page(["Known from elsewhere."])
    first = await reader.read(pictures.scanned_pdf([known]))
    await committed(reader, first)
    done = await reader.read(pictures.scanned_pdf([pictures.page(["A first page."]), known]))
    assert [page["number"] for page in await reader.words(done)] == [1, 2]
    hocr = ET.fromstring(await reader.artifact(done, "document.hocr"))  # noqa: S314 - our own
    ids = [element.get("id") for element in hocr.iter() if element.get("id")]
    assert len(ids) == len(set(ids))

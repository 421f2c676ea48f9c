"""Well-formed whatever the words are, and each format with the same words in the same places."""

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.ocr import Block, Box, Line, Page, Word
from services.ocr.output_formats import alto, hocr, tsv

ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"


def page(*lines: list[str], number: int = 1) -> Page:
    """Each line a block of its own, 20 pixels high, each word 50 pixels wide."""
    blocks = []
    for top, texts in enumerate(lines):
        words = [
            Word(text=text, box=(50 * at, 20 * top, 50 * at + 40, 20 * top + 15), confidence=91.4)
            for at, text in enumerate(texts)
        ]
        box: Box = (0, 20 * top, 50 * len(texts), 20 * top + 15)
        blocks.append(Block(box=box, lines=[Line(box=box, words=words)]))
    return Page(number=number, width=800, height=600, dpi=300, source="ocr", confidence=91.4, blocks=blocks)


def hocr_words(pages: list[Page]) -> list[tuple[str, str]]:
    root = ET.fromstring("".join(hocr(pages)))  # noqa: S314 - our own
    return [(e.text or "", e.get("title", "")) for e in root.iter() if e.get("class") == "ocrx_word"]


def alto_words(pages: list[Page]) -> list[ET.Element]:
    return list(ET.fromstring("".join(alto(pages))).iter(f"{ALTO}String"))  # noqa: S314


def rows(pages: list[Page]) -> list[list[str]]:
    return [row.split("\t") for row in "".join(tsv(pages)).removesuffix("\n").split("\n")[1:]]


ANY = st.text(
    st.characters(exclude_categories=[]) | st.sampled_from("<>&\"'\t\n\x00\x0b\ud800\ufffe"), max_size=12
)


@given(st.lists(st.lists(ANY, min_size=1, max_size=4), max_size=3))
def test_any_text_has_its_place_in_every_format(lines: list[list[str]]) -> None:
    pages = [page(*lines)]
    wanted = [re.sub("[\x00-\x1f\ud800-\udfff\ufffe\uffff]", "", text) for line in lines for text in line]
    assert [text for text, _ in hocr_words(pages)] == wanted

    assert [e.get("CONTENT") for e in alto_words(pages)] == wanted
    table = rows(pages)
    assert {len(row) for row in table} == {12}
    assert [row[11] for row in table if row[0] == "5"] == [
        " ".join(text.split()) for line in lines for text in line
    ]


def test_places_and_confidences_are_the_same_in_each() -> None:
    pages = [page(["High", "water"], ["at", "six"])]
    assert hocr_words(pages)[3] == ("six", "bbox 50 20 90 35; x_wconf 91")
    assert alto_words(pages)[3].attrib == {
        "HPOS": "50", "VPOS": "20", "WIDTH": "40", "HEIGHT": "15", "WC": "0.914", "CONTENT": "six",
    }  # fmt: skip
    assert rows(pages)[-1] == ["5", "1", "2", "1", "1", "2", "50", "20", "40", "15", "91.4", "six"]


def test_pages_keep_their_own_numbers_and_no_id_is_given_twice() -> None:
    pages = [page(["a"], number=2), page(["b"], ["c"], number=7)]
    for content in ("".join(hocr(pages)), "".join(alto(pages))):
        ids = re.findall(r' id="([^"]+)"', content, re.IGNORECASE)
        assert len(ids) == len(set(ids))
        assert [found for found in ids if found.startswith("page")] == ["page_2", "page_7"]
    assert {row[1] for row in rows(pages)} == {"2", "7"}


def test_a_document_without_words_is_one_all_the_same() -> None:
    assert hocr_words([page()]) == []
    assert alto_words([page()]) == []
    assert rows([page()]) == [["1", "1", "0", "0", "0", "0", "0", "0", "800", "600", "-1", ""]]

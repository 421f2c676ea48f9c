"""The page's own words and those of its picture become one text, in which nothing stands twice."""

import pytest

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.merging import merge, share_found, text_of
from services.ocr.tesseract import bounding_box


def block(*lines: str, top: int = 0, left: int = 0) -> Block:
    """Lines of words, 20 pixels high, of 10 pixels a letter."""
    found = []
    for number, line in enumerate(lines):
        words, at = [], left
        for text in line.split():
            box: Box = (at, top + 30 * number, at + 10 * len(text), top + 30 * number + 20)
            words.append(Word(text=text, box=box, confidence=90))
            at = box[2] + 10
        found.append(Line(box=bounding_box([word.box for word in words]), words=words))
    return Block(box=bounding_box([line.box for line in found]), lines=found)


def test_read_blocks_come_where_they_are_on_the_page() -> None:
    merged = merge(
        [block("head", top=10), block("foot", top=900)], [block("middle", top=400), block("end", top=950)]
    )
    assert text_of(merged) == "head\n\nmiddle\n\nfoot\n\nend\n"


def test_a_word_that_is_known_at_its_place_does_not_come_twice() -> None:
    own = [block("Filed by the clerk", top=100)]
    assert text_of(merge(own, [block("filed BY clerk,", top=104)])) == "Filed by the clerk\n\nclerk,\n"
    assert text_of(merge(own, [block("Filed by the clerk", top=300)])).count("clerk") == 2, "it is elsewhere"
    assert text_of(merge(own, [block("Faked my", top=100)])).endswith("Faked my\n"), "these are other words"


def test_lines_and_blocks_are_told_apart_in_the_text() -> None:
    assert text_of([block("one two", "three"), block("four")]) == "one two\nthree\n\nfour\n"
    assert text_of([]) == ""


def test_words_are_found_in_any_order_and_case() -> None:
    own = [block("the Harbour master")]
    assert share_found(own, [block("a HARBOUR has the same master")]) == 1
    assert share_found(own, [block("the other words")]) == pytest.approx(1 / 3)
    assert share_found([], []) == 0

"""What tells that a page should be looked at again."""

from pathlib import Path

import pytest

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.recognition import (
    GARBAGE_BELOW,
    MIN_LETTERS,
    SMALL_PX,
    _block_to_page,
    _doubtful,
    _sideways,
    _small_letters,
)
from services.ocr.rotation import Rotation
from services.ocr.tesseract import Recognised, bounding_box

LEVEL: Box = (0, 0, 80, SMALL_PX)
ON_END: Box = (0, 0, SMALL_PX, 80)


def found(*words: tuple[str, Box, float]) -> Recognised:
    """Each word in a line of its own."""
    lines = [Line(box=box, words=[Word(text=text, box=box, confidence=sure)]) for text, box, sure in words]
    blocks = [Block(box=bounding_box([line.box for line in lines]), lines=lines)] if lines else []
    return Recognised("", blocks, Path("none.pdf"))


@pytest.mark.parametrize(
    ("letters", "confidence", "doubtful"),
    [
        (MIN_LETTERS, GARBAGE_BELOW - 1, True),
        (MIN_LETTERS, GARBAGE_BELOW, False),
        (MIN_LETTERS - 1, 5.0, False),
    ],
)
def test_a_few_letters_are_no_text_to_doubt(letters: int, confidence: float, doubtful: bool) -> None:
    assert _doubtful(found(("x" * letters, LEVEL, confidence)), GARBAGE_BELOW) is doubtful


def test_a_page_lies_on_its_side_if_most_of_its_long_words_do() -> None:
    level, on_end = ("words", LEVEL, 90.0), ("words", ON_END, 90.0)
    assert _sideways(found(level, on_end, on_end))
    assert not _sideways(found(level, on_end))
    assert not _sideways(found(level, *[("I", ON_END, 90.0)] * 5)), "a short word is often higher than wide"
    assert not _sideways(found())


def test_small_print_is_counted_by_lines() -> None:
    small: Box = (0, 0, 80, SMALL_PX - 1)
    assert _small_letters(found(("tiny", small, 90.0), ("large", LEVEL, 90.0))) == 4


def test_a_block_goes_back_to_the_page_with_all_that_is_in_it() -> None:
    block = found(("words", (10, 20, 30, 40), 90.0)).blocks[0]
    moved = _block_to_page(block, Rotation(300, 200, 180))
    assert moved.box == moved.lines[0].box == moved.lines[0].words[0].box == (270, 160, 290, 180)
    assert block.box == (10, 20, 30, 40), "the other stays"

"""Tesseract's table as blocks, lines and words, and what they amount to."""

from pathlib import Path

import pytest

from libs.common.contracts.ocr import Block, Line, Word
from services.ocr.tesseract import Recognised, _blocks, bounding_box
from services.ocr.tesseract_library import TABLE_HEADER


def row(
    block: int, paragraph: int, line: int, text: str, *, level: int = 5, left: int = 0, conf: str = "90"
) -> str:
    place = f"{left}\t{line * 30}\t40\t20"
    return f"{level}\t1\t{block}\t{paragraph}\t{line}\t1\t{place}\t{conf}\t{text}"


def read(folder: Path, *rows: str) -> list[Block]:
    table = folder / "page.tsv"
    table.write_text("\n".join((TABLE_HEADER, *rows, "")))
    return _blocks(table)


def texts(blocks: list[Block]) -> list[list[list[str]]]:
    return [[[word.text for word in line.words] for line in block.lines] for block in blocks]


def test_words_are_in_the_blocks_and_lines_that_the_table_says(tmp_path: Path) -> None:
    blocks = read(
        tmp_path,
        row(1, 1, 1, "High"), row(1, 1, 1, "water", left=50),
        row(1, 1, 2, "at"), row(1, 2, 1, "six"),
        row(2, 1, 1, "o'clock"),
    )  # fmt: skip
    assert texts(blocks) == [[["High", "water"], ["at"], ["six"]], [["o'clock"]]]
    assert blocks[0].lines[0].box == (0, 30, 90, 50)
    assert blocks[0].box == (0, 30, 90, 80)


def test_only_words_count_and_only_such_as_have_something_in_them(tmp_path: Path) -> None:
    blocks = read(tmp_path, row(1, 0, 0, "", level=2), row(1, 1, 1, " "), row(1, 1, 2, "six"), row(2, 1, 1, ""))
    assert texts(blocks) == [[["six"]]]
    assert read(tmp_path) == []


def test_quotation_marks_are_letters_like_others(tmp_path: Path) -> None:
    assert texts(read(tmp_path, row(1, 1, 1, '"High'), row(1, 1, 1, "water"))) == [[['"High', "water"]]]


@pytest.mark.parametrize(("conf", "confidence"), [("-1", 0.0), ("96.063187", 96.1), ("0", 0.0)])
def test_confidence_is_never_below_none(tmp_path: Path, conf: str, confidence: float) -> None:
    ((word,),) = [line.words for block in read(tmp_path, row(1, 1, 1, "x", conf=conf)) for line in block.lines]
    assert word.confidence == confidence


def recognised(*words: tuple[str, float]) -> Recognised:
    line = Line(box=(0, 0, 9, 9), words=[Word(text=t, box=(0, 0, 9, 9), confidence=c) for t, c in words])
    return Recognised("", [Block(box=(0, 0, 9, 9), lines=[line])] if words else [], Path("none.pdf"))


def test_letters_are_those_of_words_without_their_punctuation() -> None:
    assert recognised(("“Bücher,", 50), ("7", 50), ("—", 50)).letters() == 7


def test_confidence_is_the_mean_over_words() -> None:
    assert recognised(("a", 90), ("bbbbbbbb", 50)).confidence() == 70
    assert recognised().confidence() == 0.0


def test_more_right_letters_make_surer_and_letters_that_are_likely_wrong_less_sure() -> None:
    assert recognised(("abcd", 100)).score() > recognised(("abc", 100)).score()
    assert recognised(("abcd", 90), ("noise", 10)).score() < recognised(("abcd", 90)).score()
    assert recognised(("abcd", 50)).score() == recognised().score() == 0


def test_a_box_around_others() -> None:
    assert bounding_box([(5, 6, 7, 8), (1, 7, 3, 20)]) == (1, 6, 7, 20)


def test_its_files_go_and_may_be_gone(tmp_path: Path) -> None:
    found = Recognised("", [], layer := tmp_path / "page.pdf")
    layer.write_bytes(b"x")
    for _ in range(2):
        found.remove()
        assert not layer.exists()

"""The recogniser. The only module that knows pytesseract.

One run of Tesseract gives all outputs: text, words and the invisible text layer. It runs on one thread: on few
cores its own threads cost more than they bring, and pages are read side by side anyway.
"""

import csv
import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytesseract
from pytesseract import TesseractError
from pytesseract import pytesseract as engine

from libs.common.contracts.ocr import Block, Line, Word
from services.ocr.refusals import EngineFailed

os.environ["OMP_THREAD_LIMIT"] = "1"

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Recognised:
    """What Tesseract made of a page: its text, its words, and a PDF of the text (see `recognise`)."""

    text: str
    blocks: list[Block]
    pdf: Path


def installed_languages() -> list[str]:
    """The languages Tesseract has models for here. Raises EngineFailed if it is not installed."""
    try:
        return sorted(pytesseract.get_languages())
    except (OSError, TesseractError) as error:
        raise EngineFailed(f"Tesseract cannot be run: {error}") from error


def recognise(
    image: Path, base: Path, *, languages: str, psm: int, dpi: int | None, with_image: bool
) -> Recognised:
    """Read the file `image`; outputs lie beside `base`. `dpi` None leaves the resolution to the file.

    The PDF holds the invisible text, over the image too if `with_image`. Raises EngineFailed.
    """
    settings = [f"--psm {psm}", "-c tessedit_create_tsv=1", f"-c textonly_pdf={int(not with_image)}"]
    if dpi is not None:
        settings.append(f"--dpi {dpi}")
    try:
        engine.run_tesseract(
            input_filename=str(image),
            output_filename_base=str(base),
            extension="txt pdf",
            lang=languages,
            config=" ".join(settings),
        )
    except TesseractError as error:
        raise EngineFailed(f"Tesseract failed: {error.message}") from error
    text = base.with_suffix(".txt").read_text().removesuffix("\f")
    return Recognised(text, _blocks(base.with_suffix(".tsv")), base.with_suffix(".pdf"))


def _blocks(tsv: Path) -> list[Block]:
    """Tesseract's table, one row a word, as blocks of lines of words."""
    with tsv.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["level"] == "5"]
    rows = [row for row in rows if row["text"].strip()]
    blocks = []
    for _, in_block in groupby(rows, key=lambda row: row["block_num"]):
        lines = []
        for _, in_line in groupby(in_block, key=lambda row: (row["par_num"], row["line_num"])):
            words = [_word(row) for row in in_line]
            lines.append(Line(box=around([word.box for word in words]), words=words))
        blocks.append(Block(box=around([line.box for line in lines]), lines=lines))
    return blocks


def _word(row: dict[str, str]) -> Word:
    left, top = int(row["left"]), int(row["top"])
    box = (left, top, left + int(row["width"]), top + int(row["height"]))
    return Word(text=row["text"], box=box, confidence=round(max(0.0, float(row["conf"])), 1))


def around(boxes: list[Box]) -> Box:
    """The smallest box around `boxes`, of which there is at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)

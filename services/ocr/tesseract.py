"""The recogniser: Tesseract, as a program or as a library. The only module that knows pytesseract.

One run of Tesseract gives all outputs: text, words and the invisible text layer. It runs on one thread: on few
cores its own threads cost more than they bring, and pages are read side by side anyway.
"""

import csv
import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import pytesseract
from pytesseract import TesseractError
from pytesseract import pytesseract as program

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr import tesseract_library
from services.ocr.refusals import EngineFailed

os.environ["OMP_THREAD_LIMIT"] = "1"

_LETTER = re.compile(r"\w")

AUTOMATIC = 3
"""The page segmentation mode that looks for columns and blocks by itself."""


Kind = Literal["tesseract", "tesserocr"]
"""The program, or the library (tesseract_library.py)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What reads, with the models in the folder `models`.

    `identity` tells it from one that might read differently: its version, its models' sizes and times.
    """

    kind: Kind
    models: Path
    identity: str


@dataclass(frozen=True, slots=True)
class Recognised:
    """What Tesseract made of a page: its text, its words, and a PDF of invisible text."""

    text: str
    blocks: list[Block]
    pdf: Path

    def words(self) -> list[Word]:
        """All of them, in reading order."""
        return [word for block in self.blocks for line in block.lines for word in line.words]

    def letters(self) -> int:
        """Letters and digits."""
        return sum(len(_LETTER.findall(word.text)) for word in self.words())

    def confidence(self) -> float:
        """The mean over all words; 0.0 if there are none."""
        words = self.words()
        return sum(word.confidence for word in words) / len(words) if words else 0.0

    def sureness(self) -> float:
        """How many more letters are likely right than wrong: what is compared between two ways to read a page."""
        return sum((word.confidence / 50 - 1) * len(_LETTER.findall(word.text)) for word in self.words())

    def remove(self) -> None:
        """Remove its files."""
        self.pdf.unlink(missing_ok=True)


def installed_languages() -> list[str]:
    """The languages Tesseract has models for here. Raises EngineFailed if it is not installed."""
    try:
        return sorted(pytesseract.get_languages())
    except (OSError, TesseractError) as error:
        raise EngineFailed(f"Tesseract cannot be run: {error}") from error


def installed_engine(kind: Kind) -> Engine:
    """The engine of that kind, with the models of the program. Raises EngineFailed if it is not installed."""
    command = [program.tesseract_cmd, "--list-langs"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
        version = str(pytesseract.get_tesseract_version())
    except (OSError, SystemExit, subprocess.CalledProcessError) as error:
        raise EngineFailed(f"Tesseract cannot be run: {error}") from error
    folder = re.search(r'"(.+)"', listed)
    if folder is None:
        raise EngineFailed("Tesseract does not say where its models are.")
    if kind == "tesserocr":
        version = tesseract_library.version()
    files = [(file, file.stat()) for file in sorted(Path(folder[1]).rglob("*.traineddata"))]
    identity = [version, *(f"{file.stem}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in files)]
    return Engine(kind, Path(folder[1]), " ".join(identity))


def orientation(image: Path) -> int | None:
    """Degrees counterclockwise that would turn the file `image` upright, as Tesseract guesses; None: it cannot."""
    try:
        found = pytesseract.image_to_osd(str(image), config="--dpi 300")
    except (TesseractError, OSError):
        return None
    clockwise = re.search(r"^Rotate: (\d+)$", found, re.M)
    return (360 - int(clockwise[1])) % 360 if clockwise else None


def recognise(engine: Engine, image: Path, base: Path, *, languages: str, psm: int, dpi: int) -> Recognised:
    """Read the file `image`; the PDF of invisible text lies beside `base`. Raises EngineFailed."""
    if engine.kind == "tesserocr":
        tesseract_library.write(image, base, models=engine.models, languages=languages, psm=psm, dpi=dpi)
    else:
        _run_program(image, base, languages=languages, psm=psm, dpi=dpi)
    text_file, table = base.with_suffix(".txt"), base.with_suffix(".tsv")
    found = Recognised(text_file.read_text().removesuffix("\f"), _blocks(table), base.with_suffix(".pdf"))
    for file in (text_file, table):
        with suppress(OSError):
            file.unlink()
    return found


def _run_program(image: Path, base: Path, *, languages: str, psm: int, dpi: int) -> None:
    settings = (f"--psm {psm}", f"--dpi {dpi}", "-c tessedit_create_tsv=1", "-c textonly_pdf=1")
    try:
        program.run_tesseract(
            input_filename=str(image),
            output_filename_base=str(base),
            extension="txt pdf",
            lang=languages,
            config=" ".join(settings),
        )
    except TesseractError as error:
        raise EngineFailed(f"Tesseract failed: {error.message}") from error


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

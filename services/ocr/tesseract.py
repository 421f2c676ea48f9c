"""The OCR engine: Tesseract, as a program or as a library.

One run of Tesseract gives all outputs: text, words and the invisible text layer. Tesseract runs on one thread. On
few cores its own threads cost more than they gain, and pages are read in parallel anyway.
"""

import csv
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from libs.common.contracts.ocr import Block, Box, Line, Word
from libs.common.sandbox.launcher import run_program
from services.ocr import tesseract_library
from services.ocr.refusals import EngineFailed, EngineRefused

os.environ["OMP_THREAD_LIMIT"] = "1"

_LETTER = re.compile(r"\w")

AUTOMATIC = 3
"""The page segmentation mode that finds columns and blocks automatically."""


Kind = Literal["tesseract", "tesserocr"]
"""The program, or the library (tesseract_library.py)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An installed OCR engine, with its models in the folder `models`. Both kinds ask `program` for orientations.

    `identity` changes when results might change: it contains the version, and the models' sizes and times.
    """

    kind: Kind
    program: Path
    models: Path
    identity: str


@dataclass(frozen=True, slots=True)
class Recognised:
    """The result of one run of Tesseract: text, blocks of words, and a PDF with an invisible text layer."""

    text: str
    blocks: list[Block]
    pdf: Path

    def words(self) -> list[Word]:
        """Return all words, in reading order."""
        return [word for block in self.blocks for line in block.lines for word in line.words]

    def letters(self) -> int:
        """Count letters and digits."""
        return sum(len(_LETTER.findall(word.text)) for word in self.words())

    def confidence(self) -> float:
        """Return the mean confidence of all words, 0 to 100; 0.0 if there are none."""
        words = self.words()
        return sum(word.confidence for word in words) / len(words) if words else 0.0

    def score(self) -> float:
        """Return how many more letters are likely right than wrong. Compares two results for the same page."""
        return sum((word.confidence / 50 - 1) * len(_LETTER.findall(word.text)) for word in self.words())

    def remove(self) -> None:
        """Delete the files of this result."""
        self.pdf.unlink(missing_ok=True)


def installed_engine(kind: Kind) -> Engine:
    """Find the engine of that kind. Both use the program's models. Raises EngineFailed if it is not installed."""
    program = Path(shutil.which("tesseract") or "tesseract")
    folder = re.search(r'"(.+)"', _output(program, "--list-langs"))
    if folder is None:
        raise EngineFailed("Tesseract does not say where its models are.")
    said = _output(program, "--version").split()
    version = tesseract_library.version() if kind == "tesserocr" else said[1].partition("-")[0].lstrip("v")
    files = [(file, file.stat()) for file in sorted(Path(folder[1]).rglob("*.traineddata"))]
    identity = [version, *(f"{file.stem}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in files)]
    return Engine(kind, program, Path(folder[1]), " ".join(identity))


def installed_languages(engine: Engine) -> list[str]:
    """List the languages that there are models for. Raises EngineFailed if the program cannot be run."""
    listed = _output(engine.program, "--list-langs").splitlines()
    return sorted(line for line in map(str.strip, listed) if re.fullmatch("[a-z_]+", line))


def orientation(engine: Engine, image: Path) -> int | None:
    """Detect by how many degrees counterclockwise to rotate the image upright. None: Tesseract cannot tell."""
    try:
        found = _output(engine.program, image, "stdout", "-l", "osd", "--psm", "0", "--dpi", "300")
    except EngineFailed:
        return None
    clockwise = re.search(r"^Rotate: (\d+)$", found, re.M)
    return (360 - int(clockwise[1])) % 360 if clockwise else None


def recognise(engine: Engine, image: Path, base: Path, *, languages: str, psm: int, dpi: int) -> Recognised:
    """Read the file `image`. Output files are named `base` plus a suffix. Raises EngineFailed."""
    if engine.kind == "tesserocr":
        tesseract_library.write(image, base, models=engine.models, languages=languages, psm=psm, dpi=dpi)
    else:
        options = ("--psm", str(psm), "--dpi", str(dpi), "-c", "tessedit_create_tsv=1", "-c", "textonly_pdf=1")
        _output(engine.program, image, base, "-l", languages, *options, "txt", "pdf")
    text_file, tsv = base.with_suffix(".txt"), base.with_suffix(".tsv")
    found = Recognised(text_file.read_text().removesuffix("\f"), _blocks(tsv), base.with_suffix(".pdf"))
    for file in (text_file, tsv):
        with suppress(OSError):
            file.unlink()
    return found


def _output(*command: str | Path) -> str:
    """What the program prints. Raises EngineFailed."""
    try:
        ended = run_program(command)
    except OSError as error:
        raise EngineFailed(f"Tesseract cannot be run: {error}") from error
    if ended.code < 0:
        raise EngineFailed(f"Tesseract was ended by signal {-ended.code}.")
    if ended.code:
        raise EngineRefused(f"Tesseract failed: {' '.join(ended.errors.split())}")
    return ended.output


def _blocks(tsv: Path) -> list[Block]:
    """Parse Tesseract's TSV, in which a word is a row of level 5."""
    with tsv.open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["level"] == "5"]
    rows = [row for row in rows if row["text"].strip()]
    blocks = []
    for _, in_block in groupby(rows, key=lambda row: row["block_num"]):
        lines = []
        for _, in_line in groupby(in_block, key=lambda row: (row["par_num"], row["line_num"])):
            words = [_word(row) for row in in_line]
            lines.append(Line(box=bounding_box([word.box for word in words]), words=words))
        blocks.append(Block(box=bounding_box([line.box for line in lines]), lines=lines))
    return blocks


def _word(row: dict[str, str]) -> Word:
    left, top = int(row["left"]), int(row["top"])
    box = (left, top, left + int(row["width"]), top + int(row["height"]))
    return Word(text=row["text"], box=box, confidence=round(max(0.0, float(row["conf"])), 1))


def bounding_box(boxes: list[Box]) -> Box:
    """Return the bounding box of `boxes`, of which there must be at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)

"""A picture of a page to its words: the right way up, straight, and looked at again where the engine is unsure.

Whatever is tried beside the plain way is kept only if the engine is surer of it. Orientation is judged by that as
well: Tesseract's own guess (OSD) is wrong on one page in ten, so it only says what to try first.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from PIL import Image

from libs.common.contracts.ocr import Block
from services.ocr import tesseract
from services.ocr.refusals import EngineFailed
from services.ocr.rotation import FINE_PX, Rotation, skew_of
from services.ocr.tesseract import Engine, Recognised, recognise

GARBAGE_BELOW = 60.0
"""A mean confidence below this is what letters upside down give: 35 or so, where upright ones give 90."""
UNSURE_BELOW = 70.0
"""… and below this another setting is tried. Measured on receipts: F1 0.77 to 0.81 for 1.2 times the time; with 75
or 80 no better, and 1.6 to 2.4 times."""
ONE_BLOCK = 6
"""The page segmentation mode for pages of which the automatic one (3) makes little. One column (4) after it gained
nothing."""
SMALL_PX, SMALL_SHARE = 20, 0.1
"""Lines less high than this are small print: 7 points at 200 dpi. A page with more than this share of its letters
in such lines is worth reading larger."""
LONG_WORD = 4
"""Letters of a word that is wider than high if its line is level."""
CLEARLY = 1.02
"""How much surer the engine must be of another way; level lines in place of ones on end may be as good."""
PIECE_LETTERS = 20
"""Fewer letters are no text to turn a page for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The best of what was tried. `blocks` and the text layer `pdf` are placed on the page as it lies."""

    text: str
    blocks: list[Block]
    pdf: Path
    turn: Rotation
    passes: int
    sureness: float
    has_small_print: bool
    """Whether more pixels would help."""


class Reader:
    """Reads one picture in several ways, and keeps the best. Files lie beside `base`.

    `until`: when nothing more is tried, as time.monotonic has it.
    """

    def __init__(
        self, engine: Engine, picture: Path, base: Path, *, languages: str, psm: int, dpi: int, until: float = inf
    ) -> None:
        self._engine = engine
        self._picture = picture
        self._base = base
        self._languages = languages
        self._dpi = dpi
        self._until = until
        self.psm = psm
        with Image.open(picture) as image:
            self._size = image.size
            image.draft("L", (image.width // 8, FINE_PX))  # a JPEG can be decoded to less
            self._small = image.convert("L")
        self.turn = Rotation(*self._size)
        self.passes = 0

    def read(self) -> Reading:
        """Read it. Raises EngineFailed."""
        self.turn = Rotation(*self._size, 0, skew_of(self._small))
        best = self._try(self.turn, self.psm)
        if _doubtful(best, GARBAGE_BELOW) or _sideways(best):
            best = self._turned(best)
        if self.psm == tesseract.AUTOMATIC and _doubtful(best, UNSURE_BELOW):
            best = self._better(best, self.turn, ONE_BLOCK)
        return self._placed(best)

    def _turned(self, best: Recognised) -> Recognised:
        """Try the other ways up, Tesseract's guess first, until one of them reads as text.

        Lines that go up or down the page can be read as they are, but not as well when they are askew too.
        """
        for quarters in self._other_ways_up():
            upright = Rotation(*self._small.size, quarters)
            turn = Rotation(*self._size, quarters, skew_of(upright.apply(self._small)))
            best = self._better(best, turn, self.psm, by=1 / CLEARLY if _sideways(best) else CLEARLY)
            if not (_doubtful(best, GARBAGE_BELOW) or _sideways(best)):
                break
        return best

    def _other_ways_up(self) -> Iterator[int]:
        guess = tesseract.orientation(self._picture)
        yield from sorted((180, 90, 270), key=lambda quarters: quarters != guess)

    def _better(self, best: Recognised, turn: Rotation, psm: int, *, by: float = CLEARLY) -> Recognised:
        if time.monotonic() > self._until:
            return best
        other = self._try(turn, psm)
        if other.sureness() <= max(0.0, best.sureness()) * by:
            other.remove()
            return best
        best.remove()
        self.turn, self.psm = turn, psm
        return other

    def _try(self, turn: Rotation, psm: int) -> Recognised:
        self.passes += 1
        base = self._base.with_name(f"{self._base.name}-try{self.passes}")
        picture = self._picture
        if not turn.is_none:
            picture = base.with_suffix(".ppm")
            with Image.open(self._picture) as image:
                turn.apply(image.convert("L")).save(picture)
        try:
            return recognise(self._engine, picture, base, languages=self._languages, psm=psm, dpi=self._dpi)
        except EngineFailed:
            if self.passes == 1:
                raise
            return Recognised("", [], base.with_suffix(".pdf"))  # one more way that leads nowhere
        finally:
            if picture != self._picture:
                picture.unlink()

    def _placed(self, best: Recognised) -> Reading:
        blocks = best.blocks
        if not self.turn.is_none:
            self.turn.turn_layer(best.pdf, self._dpi)
            blocks = [_moved(block, self.turn) for block in blocks]
        small = _small_letters(best) > SMALL_SHARE * best.letters()
        return Reading(best.text, blocks, best.pdf, self.turn, self.passes, best.sureness(), small)


def _doubtful(found: Recognised, below: float) -> bool:
    return found.letters() >= PIECE_LETTERS and found.confidence() < below


def _sideways(found: Recognised) -> bool:
    """Whether most words of some length stand on end."""
    long = [word.box for word in found.words() if len(word.text) >= LONG_WORD]
    on_end = sum(bottom - top > right - left for left, top, right, bottom in long)
    return on_end * 2 > len(long)


def _small_letters(found: Recognised) -> int:
    """Letters in lines that are not high."""
    lines = [line for block in found.blocks for line in block.lines]
    small = [line for line in lines if max(word.box[3] - word.box[1] for word in line.words) < SMALL_PX]
    return sum(len(word.text) for line in small for word in line.words)


def _moved(block: Block, turn: Rotation) -> Block:
    """The same block, on the page as it lies."""
    lines = [
        line.model_copy(
            update={
                "box": turn.box_back(line.box),
                "words": [word.model_copy(update={"box": turn.box_back(word.box)}) for word in line.words],
            }
        )
        for line in block.lines
    ]
    return block.model_copy(update={"box": turn.box_back(block.box), "lines": lines})

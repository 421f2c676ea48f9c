"""Recognises the words of a page image: deskewed, upright, and with further passes if confidence is low.

The result of a further pass is kept only if its score is better. This also decides the orientation: Tesseract's
own detection (OSD) is wrong on one page in ten, so it only says which orientation to try first.
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
"""Mean confidence below which a page may be upside down. Such pages give about 35, upright ones 90."""
UNSURE_BELOW = 70.0
"""Mean confidence below which another segmentation mode is tried. Measured on receipts: F1 rises from 0.77 to 0.81
for 1.2 times the time. A limit of 75 or 80 gives no better F1, and takes 1.6 to 2.4 times the time."""
ONE_BLOCK = 6
"""The page segmentation mode that is tried after the automatic one (3). One column (4) after it gained nothing."""
SMALL_PX, SMALL_SHARE = 20, 0.1
"""Lines lower than this many pixels are small print: 7 points at 200 dpi. A page with more than this share of its
letters in such lines is worth reading at a higher resolution."""
LONG_WORD = 4
"""A word of at least this many letters is wider than high if its line is horizontal."""
MIN_GAIN = 1.02
"""The factor by which a further pass must improve the score. Horizontal lines replace vertical ones even if their
score is lower by this factor."""
MAX_DPI = 600
"""Tesseract is told of no more. It leaves out print that is far too small for the resolution, and some pictures of
150 dpi say 1200. True scans of 1200 dpi are read as well."""
MIN_LETTERS = 20
"""Pages with fewer letters are not tried in other orientations."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The best result. `blocks` and the text layer `pdf` are in the coordinates of the original page."""

    text: str
    blocks: list[Block]
    pdf: Path
    rotation: Rotation
    passes: int
    score: float
    has_small_print: bool
    """Whether a higher resolution would help."""
    unread_area: float = 0.0
    """See libs.common.contracts.ocr.Page."""


class Reader:
    """Reads one page image in several passes, and keeps the best result.

    `base`: path and name prefix of temporary files. `until`: the time.monotonic() after which no pass is begun.
    """

    def __init__(
        self, engine: Engine, path: Path, base: Path, *, languages: str, psm: int, dpi: int, until: float = inf
    ) -> None:
        self._engine = engine
        self._path = path
        self._base = base
        self._languages = languages
        self._dpi = min(dpi, MAX_DPI)
        self._until = until
        self.psm = psm
        with Image.open(path) as image:
            self._size = image.size
            image.draft("L", (max(1, image.width // 8), FINE_PX))  # decodes a JPEG at a lower resolution
            self._thumbnail = image.convert("L")
        self.rotation = Rotation(*self._size)
        self.passes = 0

    def read(self) -> Reading:
        """Read the page. Raises EngineFailed."""
        self.rotation = Rotation(*self._size, 0, skew_of(self._thumbnail))
        best = self._recognise(self.rotation, self.psm)
        if _doubtful(best, GARBAGE_BELOW) or _sideways(best):
            best = self._try_orientations(best)
        if self.psm == tesseract.AUTOMATIC and _doubtful(best, UNSURE_BELOW):
            best = self._keep_better(best, self.rotation, ONE_BLOCK)
        return self._to_original_page(best)

    def _try_orientations(self, best: Recognised) -> Recognised:
        """Try the other orientations, the detected one first, until one gives text.

        Tesseract can read vertical lines, but not as well if they are skewed too.
        """
        for quarters in self._other_orientations():
            upright = Rotation(*self._thumbnail.size, quarters)
            rotation = Rotation(*self._size, quarters, skew_of(upright.apply(self._thumbnail)))
            best = self._keep_better(
                best, rotation, self.psm, factor=1 / MIN_GAIN if _sideways(best) else MIN_GAIN
            )
            if not (_doubtful(best, GARBAGE_BELOW) or _sideways(best)):
                break
        return best

    def _other_orientations(self) -> Iterator[int]:
        guess = tesseract.orientation(self._engine, self._path)
        yield from sorted((180, 90, 270), key=lambda quarters: quarters != guess)

    def _keep_better(
        self, best: Recognised, rotation: Rotation, psm: int, *, factor: float = MIN_GAIN
    ) -> Recognised:
        if time.monotonic() > self._until:
            return best
        other = self._recognise(rotation, psm)
        if other.score() <= max(0.0, best.score()) * factor:
            other.remove()
            return best
        best.remove()
        self.rotation, self.psm = rotation, psm
        return other

    def _recognise(self, rotation: Rotation, psm: int) -> Recognised:
        self.passes += 1
        base = self._base.with_name(f"{self._base.name}-try{self.passes}")
        path = self._path
        if not rotation.is_identity:
            path = base.with_suffix(".ppm")
            with Image.open(self._path) as image:
                rotation.apply(image.convert("L")).save(path)
        try:
            return recognise(self._engine, path, base, languages=self._languages, psm=psm, dpi=self._dpi)
        except EngineFailed:
            if self.passes == 1:
                raise
            return Recognised("", [], base.with_suffix(".pdf"))  # this pass found nothing
        finally:
            if path != self._path:
                path.unlink()

    def _to_original_page(self, best: Recognised) -> Reading:
        blocks = best.blocks
        if not self.rotation.is_identity:
            self.rotation.rotate_text_layer(best.pdf, self._dpi)
            blocks = [_block_to_page(block, self.rotation) for block in blocks]
        small = _small_letters(best) > SMALL_SHARE * best.letters()
        return Reading(best.text, blocks, best.pdf, self.rotation, self.passes, best.score(), small)


def _doubtful(found: Recognised, below: float) -> bool:
    return found.letters() >= MIN_LETTERS and found.confidence() < below


def _sideways(found: Recognised) -> bool:
    """Whether most of the long words are vertical."""
    long = [word.box for word in found.words() if len(word.text) >= LONG_WORD]
    vertical = sum(bottom - top > right - left for left, top, right, bottom in long)
    return vertical * 2 > len(long)


def _small_letters(found: Recognised) -> int:
    """Count the letters in small print."""
    lines = [line for block in found.blocks for line in block.lines]
    small = [line for line in lines if max(word.box[3] - word.box[1] for word in line.words) < SMALL_PX]
    return sum(len(word.text) for line in small for word in line.words)


def _block_to_page(block: Block, rotation: Rotation) -> Block:
    """Convert a block to the coordinates of the original page."""
    lines = [
        line.model_copy(
            update={
                "box": rotation.box_to_page(line.box),
                "words": [word.model_copy(update={"box": rotation.box_to_page(word.box)}) for word in line.words],
            }
        )
        for line in block.lines
    ]
    return block.model_copy(update={"box": rotation.box_to_page(block.box), "lines": lines})

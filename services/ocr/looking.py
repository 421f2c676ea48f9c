"""Reads the image of a page, and looks again in other ways if print is left without words. Runs in the sandbox.

What another look finds counts only if the engine is sure of more letters: what was read well stays as it is.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

from PIL import Image

from services.ocr.lighting import other_looks
from services.ocr.pictures import PageImage, decoded_again
from services.ocr.print_cover import unread_area
from services.ocr.recognition import MIN_GAIN, UNSURE_BELOW, Reader, Reading
from services.ocr.refusals import EngineRefused

WORTH_A_LOOK = 0.002
"""The share of the page that print without words must have: a line of twenty letters on A4."""


def read_image(
    image: PageImage,
    base: Path,
    reader: Callable[[Path, Path], Reader],
    colours: Callable[[], Image.Image],
    *,
    until: float = inf,
) -> Reading:
    """Read a page image. `base`: path and name prefix of temporary files, and of what is left of them.

    `reader` makes a reader of an image file and a prefix. `colours` returns the page in RGB, in the size of the
    image. `until`: the time.monotonic() after which no further look is begun. Raises EngineRefused, EngineFailed.
    """
    first = _first_look(image, base, reader)
    with image.open() as page:
        grey = page.convert("L")
    best = replace(first, unread_area=unread_area(grey, first.blocks))
    if _is_read(best):
        return best
    for number, look in enumerate(other_looks(grey, colours), 1):
        if time.monotonic() > until or _is_read(best):
            break
        path = base.with_name(f"{base.name}-look{number}.ppm")
        look.save(path)
        other = reader(path, path.with_suffix("")).read()
        path.unlink()
        best, worse = (other, best) if other.score > max(0.0, best.score) * MIN_GAIN else (best, other)
        worse.pdf.unlink(missing_ok=True)
        best = replace(best, passes=best.passes + worse.passes, unread_area=unread_area(grey, best.blocks))
    return best


def _first_look(image: PageImage, base: Path, reader: Callable[[Path, Path], Reader]) -> Reading:
    """Read the image as it is, or decoded anew if the engine cannot decode it."""
    try:
        return reader(image.path, base).read()
    except EngineRefused:
        if image.path.suffix == ".ppm":  # it has been decoded already
            raise EngineRefused from None
    copy = decoded_again(image, base.with_name(f"{base.name}-decoded.ppm"))
    try:
        return reader(copy.path, base).read()
    except EngineRefused:
        raise EngineRefused from None  # without the engine's own words
    finally:
        copy.path.unlink()


def _is_read(reading: Reading) -> bool:
    words = [word.confidence for block in reading.blocks for line in block.lines for word in line.words]
    return reading.unread_area < WORTH_A_LOOK and sum(words) >= UNSURE_BELOW * len(words)

"""Tells whether a picture has anything that looks like print, without reading it.

Strokes of letters stand close together, so print has many edges side by side, over at least the width of a short
word. Rules, frames, charts, plain logos and photographs of smooth things have few. Whatever it lets through is
read by the OCR engine, which takes a second; what it stops is not read.
"""

import math
from collections.abc import Sequence
from typing import cast

from PIL import Image, ImageChops

Direction = tuple[int, int]
"""Across and down."""
ACROSS, DOWN = (1, 0), (0, 1)
EDGE = 20
"""Levels of grey between neighbouring pixels from which there is an edge."""
TILE = (12, 5)
"""Pixels in which edges are counted."""
EDGES_OF_PRINT = 0.25
"""Share of the pixels of a tile that are edges, from which it may be print. A line across it has 0.17."""
TILES_OF_A_WORD = 3
"""Such tiles side by side: a word of five letters in 10-point type, at 100 dpi."""
DOT, LONG = (1, 1), (1, 2, 4, 8, 16)
"""Steps. Their sum, 2 or 31 pixels, is the height of a dot or the length of a rule. Strokes of letters differ."""
SCALES = (1, 2, 4)
"""The picture is looked at in these reductions: larger letters look like small ones in a smaller picture."""


def has_print(image: Image.Image) -> bool:
    """Whether a grey picture of about 100 dpi has anything that looks like print, level or upright."""
    ground = ImageChops.constant(image, extrema(image)[1])
    marked = ImageChops.difference(image, ground).point(lambda level: 255 if level > EDGE // 2 else 0).getbbox()
    if marked is None:
        return False
    left, top, right, bottom = marked
    more = TILES_OF_A_WORD * TILE[0]
    around = (left - more, top - more, right + more, bottom + more)
    image = image.crop(
        (max(0, around[0]), max(0, around[1]), min(image.width, around[2]), min(image.height, around[3]))
    )
    for scale in SCALES:
        smaller = image.reduce(scale) if scale > 1 else image
        if _has_words(smaller) or _has_words(smaller.transpose(Image.Transpose.ROTATE_90)):
            return True
    return False


def extrema(image: Image.Image) -> tuple[int, int]:
    """Return the darkest and the lightest level of a grey picture; zeros if it has no pixel."""
    levels = image.getextrema() if image.width and image.height else (0, 0)
    return cast(tuple[int, int], levels)


def edges(image: Image.Image, least: int) -> Image.Image:
    """Return the picture white where a pixel differs from its neighbour by more than `least` levels of grey."""
    return ImageChops.difference(image, ImageChops.offset(image, 1, 0)).point(white_from(least + 1))


def word_beginnings(edges_: Image.Image, tile: tuple[int, int], share: float) -> Image.Image:
    """Return a pixel for each tile: white where as many as a word has begin with at least that share of edges."""
    width, height = edges_.width // tile[0], edges_.height // tile[1]
    if width < TILES_OF_A_WORD or not height:
        return Image.new("L", (1, 1))
    tiles = edges_.crop((0, 0, width * tile[0], height * tile[1])).resize((width, height), Image.Resampling.BOX)
    tiles = tiles.point(white_from(math.ceil(255 * share)))
    words = tiles
    for step in range(1, TILES_OF_A_WORD):
        words = ImageChops.darker(words, ImageChops.offset(tiles, -step, 0))
    words.paste(0, (width - TILES_OF_A_WORD + 1, 0, width, height))  # the offset goes round
    return words


def _has_words(image: Image.Image) -> bool:
    marks = edges(image, EDGE)
    if not _are_words(marks):  # nor are those of its edges that are strokes
        return False
    return _are_words(strokes(marks))


def _are_words(edges_: Image.Image) -> bool:
    return word_beginnings(edges_, TILE, EDGES_OF_PRINT).getbbox() is not None


def white_from(level: int) -> list[int]:
    """A table that makes this level and higher ones white, and others black."""
    return [255 if value >= level else 0 for value in range(256)]


def strokes(edges_: Image.Image) -> Image.Image:
    """Return the edges that go straight down as far as strokes of letters: no dots, rules, frames and bars."""
    return ImageChops.subtract(straight(edges_, DOT), straight(edges_, LONG))


def straight(image: Image.Image, steps: Sequence[int], direction: Direction = DOWN) -> Image.Image:
    """Return what goes straight on for one pixel more than the sum of the steps (a morphological opening)."""
    for step in steps:
        image = ImageChops.darker(image, moved(image, direction, -step))
    for step in steps:
        image = ImageChops.lighter(image, moved(image, direction, step))
    return image


def moved(image: Image.Image, direction: Direction, pixels: int) -> Image.Image:
    """Return the picture moved so far. What goes out on one side comes in on the other."""
    return ImageChops.offset(image, direction[0] * pixels, direction[1] * pixels)

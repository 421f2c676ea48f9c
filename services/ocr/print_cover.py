"""Finds print that no word stands for: lines that recognition has missed. Runs in the sandbox."""

import math
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

from libs.common.contracts.ocr import Block
from services.ocr.lighting import evened
from services.ocr.print_marks import (
    LONG,
    TILES_OF_A_WORD,
    edges,
    straight,
    strokes,
    white_from,
    word_beginnings,
)

DOUBTFUL_BELOW = 50.0
"""A word of which Tesseract is less sure stands for nothing."""
EDGE_PX = 1200
"""The longest edge of the copy that is looked at: A4 at about 100 dpi."""
MARGIN = 0.3
"""What belongs to a word beside its box, as a share of its height."""
STROKE = 40
"""Levels of grey between neighbouring pixels, in even light, from which there is an edge."""
TILE = (12, 6)
"""Pixels in which edges are counted."""
EDGES_OF_PRINT, STROKES_OF_PRINT = 0.2, 0.12
"""The shares of a tile's pixels that are edges, and edges of strokes, from which it may be print. Noise has edges,
but they go straight down for a pixel or two only."""
TEXTURE = 0.1
"""The share of edges in a row as wide as a word, from which it may be texture. Between lines of print there are
rows with less, even without leading. Hatching, halftones and leaves have as many for the height of LONG. Letters
of more than about 30 points are taken for texture too."""


def unread_area(page: Image.Image, blocks: Sequence[Block]) -> float:
    """Return the share of a grey page, 0 to 1, with print for which no word stands. Boxes are in its pixels."""
    scale = min(1.0, EDGE_PX / max(page.size))
    small = page.resize([max(1, round(edge * scale)) for edge in page.size], Image.Resampling.BOX)
    rest = evened(small)
    canvas = ImageDraw.Draw(rest)
    for line in (line for block in blocks for line in block.lines):
        for word in line.words:
            if word.confidence >= DOUBTFUL_BELOW:
                left, top, right, bottom = (edge * scale for edge in word.box)
                margin = MARGIN * (bottom - top) + 1
                canvas.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill="white")
    tiles = tiles_of_print(rest).histogram()[255]
    return round(tiles * TILE[0] * TILE[1] / (small.width * small.height), 4)


def tiles_of_print(image: Image.Image) -> Image.Image:
    """Return a pixel for each tile of a grey picture of about 100 dpi: white where there is print."""
    marks = _without_texture(edges(image, STROKE))
    begins = ImageChops.darker(
        word_beginnings(marks, TILE, EDGES_OF_PRINT), word_beginnings(strokes(marks), TILE, STROKES_OF_PRINT)
    )
    words = begins
    for step in range(1, TILES_OF_A_WORD):
        words = ImageChops.lighter(words, ImageChops.offset(begins, step, 0))
    return words


def _without_texture(edges_: Image.Image) -> Image.Image:
    """Return the edges without those that go on and on, from row to row."""
    rows = edges_.resize(
        (max(1, edges_.width // (TILES_OF_A_WORD * TILE[0])), edges_.height), Image.Resampling.BOX
    )
    texture = straight(rows, LONG).point(white_from(math.ceil(255 * TEXTURE)))
    return ImageChops.subtract(edges_, texture.resize(edges_.size, Image.Resampling.NEAREST))

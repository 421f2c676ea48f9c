"""Finds print that no word stands for: lines that recognition has missed. Runs in the sandbox."""

from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

from libs.common.contracts.ocr import Block
from services.ocr.lighting import evened
from services.ocr.print_marks import TILES_OF_A_WORD, edges, word_beginnings

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
EDGES_OF_PRINT = 0.2
"""The share of a tile's pixels that are edges, from which it may be print."""


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
    tiles = _tiles_of_print(rest)
    return round(tiles * TILE[0] * TILE[1] / (small.width * small.height), 4)


def _tiles_of_print(image: Image.Image) -> int:
    begins = word_beginnings(edges(image, STROKE), TILE, EDGES_OF_PRINT)
    words = begins
    for step in range(1, TILES_OF_A_WORD):
        words = ImageChops.lighter(words, ImageChops.offset(begins, step, 0))
    return words.histogram()[255]

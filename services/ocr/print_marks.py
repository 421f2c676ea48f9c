"""Tells whether a picture has anything that looks like print, without reading it.

Strokes of letters stand close together, so print has many edges side by side, over at least the width of a short
word. Rules, frames, charts, plain logos and photographs of smooth things have few. Whatever it lets through is
read by the OCR engine, which takes a second; what it stops is not read.
"""

from PIL import Image, ImageChops

EDGE = 40
"""Levels of grey between neighbouring pixels from which there is an edge."""
TILE = (12, 5)
"""Pixels in which edges are counted."""
EDGES_OF_PRINT = 0.25
"""Share of the pixels of a tile that are edges, from which it may be print. A line across it has 0.17."""
TILES_OF_A_WORD = 3
"""Such tiles side by side: a word of five letters in 10-point type, at 100 dpi."""
LONG = (1, 2, 4, 8, 16)
"""Steps. Their sum, 31 pixels, is the length of a rule. Letters have shorter strokes, at least in a reduction."""
SCALES = (1, 2, 4)
"""The picture is looked at in these reductions: larger letters look like small ones in a smaller picture."""


def has_print(image: Image.Image) -> bool:
    """Whether a grey picture of about 100 dpi has anything that looks like print, level or upright."""
    ground = ImageChops.constant(image, image.getextrema()[1])
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


def _has_words(image: Image.Image) -> bool:
    width, height = image.width // TILE[0], image.height // TILE[1]
    if width < TILES_OF_A_WORD or not height:
        return False
    edges = _without_rules(_edges(image))
    tiles = edges.crop((0, 0, width * TILE[0], height * TILE[1])).resize((width, height), Image.Resampling.BOX)
    tiles = tiles.point(lambda level: 255 if level >= 255 * EDGES_OF_PRINT else 0)
    words = tiles
    for step in range(1, TILES_OF_A_WORD):
        words = ImageChops.darker(words, ImageChops.offset(tiles, -step, 0))
    words.paste(0, (width - TILES_OF_A_WORD + 1, 0, width, height))  # the offset goes round
    return words.getbbox() is not None


def _edges(image: Image.Image) -> Image.Image:
    difference = ImageChops.difference(image, ImageChops.offset(image, 1, 0))
    return difference.point(lambda level: 255 if level > EDGE else 0)


def _without_rules(edges: Image.Image) -> Image.Image:
    """Return the edges without those that go straight down for long: rules, frames and bars."""
    long = edges
    for step in LONG:
        long = ImageChops.darker(long, ImageChops.offset(long, 0, -step))
    for step in LONG:
        long = ImageChops.lighter(long, ImageChops.offset(long, 0, step))
    return ImageChops.subtract(edges, long)

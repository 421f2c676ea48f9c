"""Takes the rules off ruled and squared paper. Runs in the sandbox.

Tesseract takes print that stands on a rule, or is crossed by one, for a drawing, and leaves it out.
"""

from collections.abc import Sequence

from PIL import Image, ImageChops

from services.ocr.print_marks import ACROSS, DOWN, Direction, moved, straight, white_from

LENGTHS = (1, 2, 4, 8, 16, 32)
"""Steps in pixels. Their sum, 63, is the least length of a rule. Strokes of 20-point print at 200 dpi are less."""
THICK, COARSELY_THICK = (1, 2, 4), (1, 1)
"""Steps in pixels. What is thicker than their sum, 7 or 2, is a bar, a shadow or a picture."""
BESIDE = 4
"""Pixels. A letter that a rule crosses has ink at this distance from its middle."""
INK = 20
"""Levels of grey by which a rule is darker than paper."""
COARSE, RULED_SHARE = 4, 0.03
"""Paper is ruled if such a share of a picture that is so many times smaller is rules: a line every 9 mm. There, 63
pixels are 3 cm at 200 dpi. Receipts have up to 0.02, with their dashes and the table that they lie on."""


def without_rules(grey: Image.Image) -> Image.Image | None:
    """Return the page without its rules, or None if the paper has hardly any. The light on it should be even."""
    ink = ImageChops.invert(grey)
    coarse = ink.reduce(COARSE)
    if max(_share(_rules(coarse, direction, COARSELY_THICK)) for direction in (ACROSS, DOWN)) < RULED_SHARE:
        return None
    for rule, direction in [(_rules(ink, direction, THICK), direction) for direction in (ACROSS, DOWN)]:
        ink = _taken_off(ink, rule, direction)
    return ImageChops.invert(ink)


def _rules(ink: Image.Image, direction: Direction, thick: Sequence[int]) -> Image.Image:
    """Return only what is long in that direction and thin."""
    long = straight(ink, LENGTHS, direction)
    return ImageChops.subtract(long, straight(long, thick, direction[::-1]))


def _taken_off(ink: Image.Image, rule: Image.Image, direction: Direction) -> Image.Image:
    """Take the rule off, but for the letters that it crosses: those have ink on one side of it."""
    rest = ImageChops.subtract(ink, rule)
    aside = direction[::-1]
    beside = ImageChops.lighter(moved(rest, aside, BESIDE), moved(rest, aside, -BESIDE))
    return Image.composite(ImageChops.darker(beside, ink), rest, rule.point(white_from(INK)))


def _share(rule: Image.Image) -> float:
    return sum(rule.histogram()[INK:]) / (rule.width * rule.height)

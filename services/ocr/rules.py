"""Takes the rules off a page: lines of ruled and squared paper, of forms and tables. Runs in the sandbox.

Tesseract takes print that stands on a rule, or is crossed by one, for a drawing, and leaves it out.
"""

from collections.abc import Sequence

from PIL import Image, ImageChops

LENGTHS = (1, 2, 4, 8, 16, 32)
"""Steps in pixels. Their sum, 63, is the least length of a rule. Strokes of 20-point print at 200 dpi are less."""
THICK = (1, 2, 4)
"""Steps in pixels. What is thicker than their sum, 7, is a bar, a shadow or a picture."""
BESIDE = 4
"""Pixels. A letter that a rule crosses has ink at this distance from its middle."""
INK = 20
"""Levels of grey by which a rule is darker than paper."""
RULED_SHARE = 0.003
"""The share of a ruled page that is rules: ten of them across A4."""
Direction = tuple[int, int]
ACROSS, DOWN = (1, 0), (0, 1)


def without_rules(grey: Image.Image) -> Image.Image | None:
    """Return the page without its rules, or None if it has hardly any. The light on it should be even."""
    ink = ImageChops.invert(grey)
    rules = {direction: _rules(ink, direction) for direction in (ACROSS, DOWN)}
    if sum(map(_pixels, rules.values())) < RULED_SHARE * grey.width * grey.height:
        return None
    for direction, rule in rules.items():
        ink = _taken_off(ink, rule, direction)
    return ImageChops.invert(ink)


def _rules(ink: Image.Image, direction: Direction) -> Image.Image:
    """Return only what is long in that direction and thin."""
    long = _opened(ink, direction, LENGTHS)
    return ImageChops.subtract(long, _opened(long, direction[::-1], THICK))


def _opened(ink: Image.Image, direction: Direction, steps: Sequence[int]) -> Image.Image:
    """Return only what goes on in that direction for more than the sum of the steps (a morphological opening)."""
    for step in steps:
        ink = ImageChops.darker(ink, _moved(ink, direction, -step))
    for step in steps:
        ink = ImageChops.lighter(ink, _moved(ink, direction, step))
    return ink


def _taken_off(ink: Image.Image, rule: Image.Image, direction: Direction) -> Image.Image:
    """Take the rule off, but for the letters that it crosses: those have ink on one side of it."""
    rest = ImageChops.subtract(ink, rule)
    aside = direction[::-1]
    beside = ImageChops.lighter(_moved(rest, aside, BESIDE), _moved(rest, aside, -BESIDE))
    return Image.composite(ImageChops.darker(beside, ink), rest, rule.point(_from_ink))


def _moved(image: Image.Image, direction: Direction, pixels: int) -> Image.Image:
    return ImageChops.offset(image, direction[0] * pixels, direction[1] * pixels)


def _pixels(rule: Image.Image) -> int:
    return sum(rule.histogram()[INK:])


def _from_ink(level: int) -> int:
    return 255 if level >= INK else 0

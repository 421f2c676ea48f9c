"""Rules are taken off a page, and letters stay, also those that a rule crosses."""

import pytest
from PIL import Image, ImageChops, ImageDraw

from services.ocr.rules import LENGTHS, without_rules
from tests import pictures

WHITE = 255


def ruled(page: Image.Image, level: int, *, down: bool = False) -> Image.Image:
    paper = Image.new("L", page.size, WHITE)
    canvas = ImageDraw.Draw(paper)
    for place in range(31, page.height, 31):
        line = (place, 0, place, page.height) if down else (0, place, page.width, place)
        canvas.line(line, fill=level, width=2)
    return ImageChops.darker(page, paper)


def difference(first: Image.Image, second: Image.Image) -> float:
    return sum(ImageChops.difference(first, second).histogram()[64:]) / (first.width * first.height)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("level", [60, 150, 210])
def test_rules_go_and_letters_stay(level: int, down: bool) -> None:
    page = pictures.page()
    look = without_rules(ruled(page, level, down=down))
    assert look is not None
    assert difference(look, page) < 0.002
    empty = without_rules(ruled(Image.new("L", (600, 600), WHITE), level, down=down))
    assert empty is not None
    assert empty.getextrema() == (WHITE, WHITE)


def test_a_page_without_rules_has_no_such_look() -> None:
    assert without_rules(pictures.page()) is None
    assert without_rules(Image.new("L", (600, 600), WHITE)) is None


def test_bars_and_shadows_are_no_rules() -> None:
    page = Image.new("L", (400, 400), WHITE)
    for place in range(20, 380, 40):
        ImageDraw.Draw(page).rectangle((0, place, 399, place + 14), fill=100)
    assert without_rules(page) is None


def test_a_stroke_shorter_than_a_rule_is_none() -> None:
    page = Image.new("L", (400, 400), WHITE)
    for place in range(20, 380, 10):
        ImageDraw.Draw(page).line((50, place, 50 + sum(LENGTHS) - 1, place), fill=0)
    assert without_rules(page) is None

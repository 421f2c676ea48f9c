"""Print without words is noticed; rules, frames and blank paper are none."""

import random
from collections.abc import Callable

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.print_cover import unread_area
from tests import pictures


def block(box: Box, confidence: float = 95.0) -> Block:
    word = Word(text="words", box=box, confidence=confidence)
    return Block(box=box, lines=[Line(box=box, words=[word])])


def test_print_is_unread_until_a_word_stands_for_it() -> None:
    page = pictures.page()
    whole, half = (0, 0, page.width, page.height), (0, 0, page.width, 250)
    everything = unread_area(page, [])
    assert 0.005 < everything < 0.1
    assert 0 < unread_area(page, [block(half)]) < everything
    assert unread_area(page, [block(whole)]) == 0.0
    assert unread_area(page, [block(whole, confidence=20.0)]) == everything, "a doubtful word stands for nothing"


def test_it_is_a_share_whatever_the_resolution() -> None:
    coarse, fine = (unread_area(pictures.page(dpi=dpi), []) for dpi in (100, 300))
    assert 0.5 < coarse / fine < 2


def test_rules_frames_and_blank_paper_are_no_print() -> None:
    page = Image.new("L", (1200, 1600), 255)
    assert unread_area(page, []) == 0.0
    draw = ImageDraw.Draw(page)
    draw.rectangle((100, 100, 1100, 1500), outline=0, width=5)
    for row in range(200, 1500, 200):
        draw.line((100, row, 1100, row), fill=0, width=3)
    assert unread_area(page, []) < 0.002


def noisy_paper() -> Image.Image:
    paper = Image.new("L", (1240, 1754), 245)
    return ImageChops.add(paper, pictures.noise(paper.size, 70), 1, -128)


def specks() -> Image.Image:
    paper, chance = Image.new("L", (1240, 1754), 245), random.Random(1)  # noqa: S311 - the same specks each time
    for _ in range(80_000):
        paper.putpixel((chance.randrange(1240), chance.randrange(1754)), 0)
    return paper


def halftone() -> Image.Image:
    shades = pictures.noise((155, 220), 80).filter(ImageFilter.GaussianBlur(4))
    return (
        shades.resize((1240, 1754))
        .point(lambda level: max(0, min(255, 6 * level - 640)))
        .convert("1")
        .convert("L")
    )


def hatching() -> Image.Image:
    paper = Image.new("L", (1240, 1754), 245)
    draw = ImageDraw.Draw(paper)
    for at in range(-800, 1240, 9):
        draw.line((at, 300, at + 500, 1100), fill=40, width=2)
    return paper


@pytest.mark.parametrize("make", [noisy_paper, specks, halftone, hatching])
def test_paper_photographs_and_drawings_are_no_print(make: Callable[[], Image.Image]) -> None:
    """They counted as 0.09 to 0.99 of the page when edges alone were counted."""
    assert unread_area(make(), []) < 0.01


@pytest.mark.parametrize("size", [6, 8, 11, 18])
@pytest.mark.parametrize("leading", [1.0, 1.4])
def test_lines_of_any_usual_size_are_print_however_close(size: int, leading: float) -> None:
    page = Image.new("L", (1240, 1754), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=size * 150 / 72)
    for row in range(10):
        draw.text((150, 150 + row * size * leading * 150 / 72), " ".join(pictures.LINES[:2]), fill=0, font=font)
    one_line = 2 * size / 72 / 11.7 * 0.2
    assert unread_area(page, []) > 10 * one_line * 0.5


def test_print_in_a_shadow_is_print() -> None:
    page = pictures.page().point(lambda level: level // 4)
    assert unread_area(page, []) > 0.005


def test_a_page_smaller_than_a_letter() -> None:
    assert unread_area(Image.new("L", (1, 1)), []) == 0.0

"""Print without words is noticed; rules, frames and blank paper are none."""

from PIL import Image, ImageDraw

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


def test_print_in_a_shadow_is_print() -> None:
    page = pictures.page().point(lambda level: level // 4)
    assert unread_area(page, []) > 0.005


def test_a_page_smaller_than_a_letter() -> None:
    assert unread_area(Image.new("L", (1, 1)), []) == 0.0

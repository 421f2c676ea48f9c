"""Print is told from rules, shades and photographs, whatever its size, direction and colours."""

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from services.ocr.print_marks import has_print
from tests import pictures

PAPER = (850, 1100)


def printed(size: float, words: str = "Harbour office") -> Image.Image:
    """A line of that size in points, on a page at 100 dpi."""
    image = Image.new("L", PAPER, 255)
    ImageDraw.Draw(image).text((60, 400), words, fill=0, font=ImageFont.load_default(size=size * 100 / 72))
    return image


@pytest.mark.parametrize("size", [6, 8, 11, 18, 30, 48])
def test_print_of_any_usual_size(size: float) -> None:
    assert has_print(printed(size))


def test_print_in_any_direction_and_in_light_on_dark() -> None:
    image = printed(11)
    assert has_print(image.transpose(Image.Transpose.ROTATE_90))
    assert has_print(image.transpose(Image.Transpose.ROTATE_270))
    assert has_print(image.rotate(4, fillcolor=255))
    assert has_print(ImageOps.invert(image))
    assert has_print(image.point(lambda level: 150 + level // 3))


def test_nothing_and_shades_and_photographs_of_smooth_things() -> None:
    shade = Image.linear_gradient("L").resize(PAPER)
    smooth = pictures.noise((85, 110), 80).filter(ImageFilter.GaussianBlur(3)).resize(PAPER)
    for image in (Image.new("L", PAPER, 255), Image.new("L", PAPER, 0), shade, smooth):
        assert not has_print(image)


def test_rules_frames_and_specks() -> None:
    image = Image.new("L", PAPER, 255)
    canvas = ImageDraw.Draw(image)
    for at in range(50, 800, 50):
        canvas.line((50, at, 800, at), fill=0, width=2)
        canvas.line((at, 50, at, 800), fill=0, width=2)
        canvas.point((at + 20, 900), fill=0)
    for at in range(50, 800, 4):
        canvas.rectangle((at, 940, at + 1, 941), fill=0)
    canvas.ellipse((300, 820, 500, 1020), outline=0, width=3)
    canvas.rectangle((550, 850, 700, 1000), fill=90)
    assert not has_print(image)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (20, 20)])
def test_pictures_too_small_for_a_word(size: tuple[int, int]) -> None:
    assert not has_print(pictures.noise(size, 100))

"""Shadows and colours are taken from a page; a page without them is left alone."""

from PIL import Image, ImageChops, ImageDraw

from services.ocr.lighting import evened, other_looks
from tests import pictures


def in_shadow(page: Image.Image) -> Image.Image:
    """The left half in a third of the light, with a soft edge."""
    light = Image.new("L", page.size, 255)
    light.paste(85, (0, 0, page.width // 2, page.height))
    return ImageChops.multiply(page, light.resize((16, 16)).resize(page.size, Image.Resampling.BICUBIC))


def marked(page: Image.Image) -> Image.Image:
    marker = Image.new("RGB", page.size, "white")
    ImageDraw.Draw(marker).rectangle((100, 100, 900, 300), fill=(230, 30, 40))
    return ImageChops.multiply(page.convert("RGB"), marker)


def looks(page: Image.Image) -> list[Image.Image]:
    return list(other_looks(page.convert("L"), lambda: page.convert("RGB")))


def darkest(page: Image.Image) -> int:
    return next(level for level, count in enumerate(page.histogram()) if count)


def difference(first: Image.Image, second: Image.Image) -> float:
    return sum(ImageChops.difference(first, second).histogram()[64:]) / (first.width * first.height)


def test_black_on_white_has_no_other_look() -> None:
    assert looks(pictures.page()) == []
    assert looks(Image.new("L", (400, 600), 255)) == []


def test_a_shadow_goes_and_the_letters_stay() -> None:
    page = pictures.page()
    (look,) = looks(in_shadow(page))
    assert difference(in_shadow(page), page) > 0.4
    assert difference(look, page) < 0.02
    assert darkest(look) < 40


def test_a_marker_goes_and_the_letters_stay() -> None:
    page = pictures.page()
    assert difference(looks(marked(page))[0], page) < 0.001


def test_a_marker_in_a_shadow_has_both_looks() -> None:
    page = pictures.page()
    dark = Image.merge("RGB", [in_shadow(channel) for channel in marked(page).split()])
    assert difference(looks(dark)[0], page) < 0.02


def test_dark_ground_is_not_made_of_noise() -> None:
    assert darkest(evened(Image.new("L", (200, 200), 3))) < 40


def test_a_page_of_any_size_is_evened() -> None:
    for size in ((1, 1), (3, 700), (700, 3)):
        assert evened(Image.new("L", size, 90)).size == size

"""A picture becomes opaque, grey or RGB, as a viewer shows it, whatever its file has."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageDraw

from services.ocr.flattening import PLAIN_MODES, grey, plain, with_few_bits
from tests import pictures


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    opened = Image.open(buffer)
    opened.load()
    return opened


def palette_with_a_clear_ground() -> Image.Image:
    """Black letters on blue that is transparent."""
    image = Image.new("P", (60, 60), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    ImageDraw.Draw(image).rectangle((20, 20, 40, 40), fill=0)
    return saved(image, transparency=1, bits=4)


def white_on_clear() -> Image.Image:
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((20, 20, 30, 30), fill="white")
    return saved(image)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"])
def test_every_mode_becomes_a_plain_one(mode: str) -> None:
    image = Image.new(mode, (9, 7))
    assert plain(image).mode in PLAIN_MODES
    assert grey(image).mode == "L"
    assert plain(image).size == grey(image).size == (9, 7)


def test_a_transparent_ground_is_white() -> None:
    for drawn in (plain(palette_with_a_clear_ground()).convert("L"), grey(palette_with_a_clear_ground())):
        assert (drawn.getpixel((5, 5)), drawn.getpixel((30, 30))) == (255, 0)


def test_what_is_light_stands_out_from_its_ground() -> None:
    for image in (white_on_clear(), saved(white_on_clear().getchannel("A").convert("1"), transparency=0)):
        drawn = grey(image)
        assert (drawn.getpixel((5, 5)), drawn.getpixel((25, 25))) == (0, 255)


def test_a_light_picture_with_clear_corners_stays_on_white() -> None:
    image = Image.new("RGBA", (60, 60), "white")
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert grey(image).getpixel((0, 0)) == 255


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_that_were_multiplied_by_alpha(mode: str) -> None:
    straight = Image.new(mode.upper(), (4, 4), (90,) * (len(mode) - 1) + (128,))
    assert grey(straight.convert(mode)).getpixel((1, 1)) == pytest.approx(grey(straight).getpixel((1, 1)), abs=2)


def test_many_bits_are_scaled_and_not_cut_off() -> None:
    assert grey(Image.new("I;16", (4, 4), 0x8000)).getpixel((1, 1)) == 128
    slope = Image.linear_gradient("L").convert("F").point(lambda value: value * 0.001 + 5)
    levels = grey(slope).histogram()
    assert sum(levels[:5]) > 0
    assert sum(levels[250:]) > 0


def test_a_grey_of_16_bits_that_stands_for_nothing_is_white() -> None:
    image = Image.new("I;16", (4, 4), 7)
    image.putpixel((1, 1), 40_000)
    drawn = grey(saved(image, transparency=7))
    assert drawn.getpixel((0, 0)) == 255
    assert drawn.getpixel((1, 1)) == pytest.approx(156, abs=2)


def test_a_colour_profile_is_applied_and_one_that_does_not_fit_is_not() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (4, 4), (10, 200, 30))
    for profile in (lab, srgb, b"none"):
        image.info["icc_profile"] = profile
        shown = plain(image)
        assert shown.mode == "RGB"
        assert shown.getpixel((1, 1)) == pytest.approx((10, 200, 30), abs=2)
        assert shown.info == {}


def test_the_picture_that_it_is_made_of_stays(tmp_path: Path) -> None:
    image = palette_with_a_clear_ground()
    plain(image), grey(image)
    assert (image.mode, image.getpixel((5, 5))) == ("P", 1)


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.linear_gradient("L").point(lambda level: 255 * (level > 99)), "1"),
        (Image.linear_gradient("L").point(lambda level: level // 40 * 40), "P"),
        (Image.linear_gradient("L"), "L"),
        (Image.merge("RGB", [Image.linear_gradient("L").point(lambda level: level // 40 * 40)] * 3), "P"),
        (pictures.noise((90, 90), 60).convert("RGB"), None),
        (Image.new("1", (9, 9)), "1"),
    ],
    ids=["black and white", "few levels", "many levels", "few colours", "noise", "bilevel"],
)
def test_few_colours_have_few_bits_and_stay_what_they_are(image: Image.Image, mode: str | None) -> None:
    found = with_few_bits(image)
    assert mode in (found.mode, None)
    assert found.convert("RGB").tobytes() == image.convert("RGB").tobytes()

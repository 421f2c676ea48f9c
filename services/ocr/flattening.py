"""Makes a decoded picture plain: opaque, of at most 8 bits a channel, black-and-white, grey or RGB.

What Tesseract reads and what document.pdf shows both come from here, so they cannot differ. Runs in the sandbox.
"""

import io
from contextlib import suppress

from PIL import Image, ImageChops, ImageCms

PLAIN_MODES = ("1", "L", "RGB")
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colours are multiplied by alpha already, and those whose colours are not."""
MOSTLY_CLEAR, LIGHT = 0.5, 170
"""A picture of which more than this share is transparent, and the rest lighter than this grey, lies on black."""
PALETTE, FEW_LEVELS = 256, 16
"""Colours that a palette has at most, and the levels of grey from which one saves nothing."""


def plain(image: Image.Image) -> Image.Image:
    """Return a decoded picture in one of PLAIN_MODES, in the colours that a viewer shows."""
    flat = _in_srgb(_opaque(_shallow(image)))
    if flat.mode not in PLAIN_MODES:
        flat = flat.convert("RGB")
    flat = flat.copy()
    flat.info = {}
    return flat


def grey(image: Image.Image) -> Image.Image:
    """Return a decoded picture in grey. Its colour profile is left aside: it does not matter for reading."""
    flat = _opaque(_shallow(image))
    return (flat.convert("RGB") if flat.mode == "LAB" else flat).convert("L")


def with_few_bits(image: Image.Image) -> Image.Image:
    """Return a plain picture unchanged, but with one bit a pixel or a palette if its colours are few enough."""
    counted = image.getcolors(PALETTE) if image.mode != "1" else None
    if counted is None:
        return image
    if image.mode == "L":
        levels = [level for _, level in sorted(counted, reverse=True) if isinstance(level, int)]
        if set(levels) <= {0, 255}:
            return image.convert("1", dither=Image.Dither.NONE)
        if len(levels) > FEW_LEVELS:
            return image
        indexed = image.point([levels.index(value) if value in levels else 0 for value in range(256)])
        indexed.putpalette([level for level in levels for _ in range(3)])
        return indexed
    indexed = image.quantize(len(counted), dither=Image.Dither.NONE)
    is_same = ImageChops.difference(indexed.convert("RGB"), image).getbbox() is None
    return indexed if is_same else image


def _shallow(image: Image.Image) -> Image.Image:
    """Scale values of more than 8 bits. `convert` alone would clip them."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    deep = image.convert("F" if image.mode == "F" else "I")
    low, high = 0.0, 65536.0  # what PNG and TIFF of 16 bits have, also where Pillow makes 32 of them
    darkest, lightest = deep.getextrema()
    if image.mode == "F" or darkest < low or lightest > high:  # type: ignore[operator]
        low, high = float(darkest), float(lightest)  # type: ignore[arg-type]
    scale = 256 / (high - low) if high > low else 1.0
    flat = deep.point(lambda value: value * scale + -low * scale).convert("L")
    if isinstance(image.info.get("transparency"), int) and image.mode in ("I", "I;16"):
        flat.putalpha(image.convert("LA").getchannel("A"))
    return flat


def _opaque(image: Image.Image) -> Image.Image:
    """Put what is transparent on a ground that the rest stands out from: white, or black if the rest is light."""
    if not image.has_transparency_data:
        return image
    drawn = image.convert(STRAIGHT.get(image.mode, image.mode)).convert("RGBA")
    flat = Image.new("RGB", drawn.size, _ground(drawn))
    flat.paste(drawn, mask=drawn.getchannel("A"))
    red, green, blue = flat.split()
    if not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox():
        return red
    profile = image.info.get("icc_profile")
    flat.info = {"icc_profile": profile} if profile else {}
    return flat


def _ground(drawn: Image.Image) -> str:
    alpha = drawn.getchannel("A")
    visible = alpha.point(lambda value: 255 if value >= 128 else 0)
    clear = visible.histogram()[0]
    lights = drawn.convert("RGB").convert("L").histogram(visible)
    total = sum(value * count for value, count in enumerate(lights))
    mostly_clear = clear > MOSTLY_CLEAR * drawn.width * drawn.height
    return "black" if mostly_clear and total > LIGHT * sum(lights) else "white"


def _in_srgb(image: Image.Image) -> Image.Image:
    """Apply the colour profile. One that does not fit the picture is left aside, as viewers do."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("L", "RGB", "CMYK", "P"):
        return image
    image = image.convert("RGB") if image.mode == "P" else image
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        shown = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if shown is not None:
            return shown.convert("L") if image.mode == "L" else shown
    return image

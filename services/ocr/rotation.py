"""A picture turned upright, and the way back: words and the text layer belong on the page as it lies.

A page is first turned by quarters, then straightened by its skew. The skew is found where the rows of a small copy
differ most from each other (a projection profile: W. Postl, US patent 4,723,297, 1988).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path

import pikepdf
from PIL import Image

from libs.common.contracts.ocr import Box

STEEPEST = 8
"""Degrees of skew that are looked for."""
SLIGHTEST = 0.5
"""Degrees of skew that Tesseract copes with by itself."""
CLEARLY = 1.5
"""The straightened rows must differ so many times more."""
COARSE_PX, FINE_PX = 400, 800
"""Heights of the copies on which whole degrees and then tenths are tried."""

_QUARTERS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


@dataclass(frozen=True, slots=True)
class Rotation:
    """How a picture of that many pixels was turned counterclockwise: by quarters, then by `skew` degrees."""

    width: int
    height: int
    quarters: int = 0
    skew: float = 0.0

    @property
    def is_none(self) -> bool:
        """Whether nothing was turned."""
        return not self.quarters and not self.skew

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height after the quarters."""
        return (self.height, self.width) if self.quarters in (90, 270) else (self.width, self.height)

    def apply(self, image: Image.Image) -> Image.Image:
        """The picture turned; its size is that of `upright`."""
        if self.quarters:
            image = image.transpose(_QUARTERS[self.quarters])
        if self.skew:
            image = image.rotate(self.skew, Image.Resampling.BICUBIC, fillcolor="white")
        return image

    def back(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the turned picture lies on the page, from its top left corner."""
        width, height = self.upright
        angle, dx, dy = radians(self.skew), x - width / 2, y - height / 2
        x, y = (
            width / 2 + cos(angle) * dx - sin(angle) * dy,
            height / 2 + sin(angle) * dx + cos(angle) * dy,
        )
        match self.quarters:
            case 90:
                return self.width - y, x
            case 180:
                return self.width - x, self.height - y
            case 270:
                return y, self.height - x
        return x, y

    def box_back(self, box: Box) -> Box:
        """The smallest box on the page around a box of the turned picture, within the page."""
        left, top, right, bottom = box
        xs, ys = zip(*(self.back(x, y) for x in (left, right) for y in (top, bottom)), strict=True)
        return (
            max(0, round(min(xs))),
            max(0, round(min(ys))),
            min(self.width, round(max(xs))),
            min(self.height, round(max(ys))),
        )

    def turn_layer(self, layer: Path, dpi: int) -> None:
        """Turn the only page of a PDF, the text layer of the turned picture, so that it lies on the page."""
        points = 72 / dpi

        def place(u: float, v: float) -> tuple[float, float]:
            x, y = self.back(u / points, self.upright[1] - v / points)
            return x * points, (self.height - y) * points

        (e, f), (a, b), (c, d) = place(0, 0), place(1, 0), place(0, 1)
        matrix = " ".join(f"{number:.6f}" for number in (a - e, b - f, c - e, d - f, e, f))
        with pikepdf.open(layer, allow_overwriting_input=True) as document:
            form = document.pages[0].as_form_xobject()
            document.add_blank_page(page_size=(self.width * points, self.height * points))
            page = document.pages[1]
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Text=document.make_indirect(form)))
            page.Contents = document.make_stream(f"q {matrix} cm /Text Do Q".encode())
            del document.pages[0]
            document.save(layer)


def skew_of(image: Image.Image) -> float:
    """Degrees that a grey picture must be turned counterclockwise for its lines to be level; 0.0 if they are."""
    fine = _small(image, FINE_PX).point(lambda value: 255 - value)
    coarse = _small(fine, COARSE_PX)
    about = max(range(-STEEPEST, STEEPEST + 1), key=lambda angle: _sharpness(coarse, angle))
    found = max((about + tenths / 10 for tenths in range(-8, 9, 2)), key=lambda angle: _sharpness(fine, angle))
    clear = _sharpness(fine, found) > CLEARLY * _sharpness(fine, 0)
    return found if clear and abs(found) >= SLIGHTEST else 0.0


def _small(image: Image.Image, height: int) -> Image.Image:
    width = max(1, image.width * height // image.height)
    return image.resize((width, height), Image.Resampling.BOX)


def _sharpness(image: Image.Image, angle: float) -> int:
    """How much each row differs from the next when the picture is turned so."""
    turned = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=0)
    rows = turned.resize((1, image.height), Image.Resampling.BOX).tobytes()
    return sum((above - below) ** 2 for above, below in pairwise(rows))

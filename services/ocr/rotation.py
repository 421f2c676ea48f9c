"""Rotates a page image upright, and maps words and the text layer back to the original page.

A page is first rotated by quarter turns, then deskewed. The skew is the angle at which the rows of a small copy
differ most from each other (projection profile: W. Postl, US patent 4,723,297, 1988).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path

import pikepdf
from PIL import Image

from libs.common.contracts.ocr import Box

MAX_SKEW = 8
"""The largest skew that is detected, in degrees."""
MIN_SKEW = 0.5
"""Tesseract copes with less skew than this by itself; in degrees."""
MIN_GAIN = 1.5
"""The factor by which deskewing must increase the differences between rows."""
COARSE_PX, FINE_PX = 400, 800
"""Heights in pixels of the copies on which whole degrees, then fifths of a degree are tried."""

_QUARTERS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


@dataclass(frozen=True, slots=True)
class Rotation:
    """A counterclockwise rotation of an image: by `quarters` (0, 90, 180 or 270), then by `skew` degrees."""

    width: int
    height: int
    quarters: int = 0
    skew: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether the image stays as it is."""
        return not self.quarters and not self.skew

    @property
    def upright(self) -> tuple[int, int]:
        """Return width and height after the quarter turns."""
        return (self.height, self.width) if self.quarters in (90, 270) else (self.width, self.height)

    def apply(self, image: Image.Image) -> Image.Image:
        """Rotate an image. The result has the size `upright`."""
        if self.quarters:
            image = image.transpose(_QUARTERS[self.quarters])
        if self.skew:
            image = image.rotate(self.skew, Image.Resampling.BICUBIC, fillcolor="white")
        return image

    def to_page(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the rotated image to the original page. The origin is the top left corner."""
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

    def box_to_page(self, box: Box) -> Box:
        """Map a box of the rotated image to its bounding box on the original page, clipped to the page."""
        left, top, right, bottom = box
        xs, ys = zip(*(self.to_page(x, y) for x in (left, right) for y in (top, bottom)), strict=True)
        return (
            max(0, round(min(xs))),
            max(0, round(min(ys))),
            min(self.width, round(max(xs))),
            min(self.height, round(max(ys))),
        )

    def rotate_text_layer(self, layer: Path, dpi: int) -> None:
        """Rotate a one-page PDF, the text layer of the rotated image, back to the original page."""
        points = 72 / dpi

        def map_point(u: float, v: float) -> tuple[float, float]:
            x, y = self.to_page(u / points, self.upright[1] - v / points)
            return x * points, (self.height - y) * points

        (e, f), (a, b), (c, d) = map_point(0, 0), map_point(1, 0), map_point(0, 1)
        matrix = " ".join(f"{number:.6f}" for number in (a - e, b - f, c - e, d - f, e, f))
        with pikepdf.open(layer, allow_overwriting_input=True) as document:
            form = document.pages[0].as_form_xobject()
            document.add_blank_page()
            page = document.pages[1]
            page.MediaBox = [
                0,
                0,
                self.width * points,
                self.height * points,
            ]  # of any size, as it is only an overlay
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Text=document.make_indirect(form)))
            page.Contents = document.make_stream(f"q {matrix} cm /Text Do Q".encode())
            del document.pages[0]
            document.save(layer)


def skew_of(image: Image.Image) -> float:
    """Return the degrees by which to rotate a grey image counterclockwise to deskew it; 0.0 if it is straight."""
    fine = _scaled_down(image, FINE_PX).point(lambda value: 255 - value)
    coarse = _scaled_down(fine, COARSE_PX)
    about = max(range(-MAX_SKEW, MAX_SKEW + 1), key=lambda angle: _row_contrast(coarse, angle))
    found = max((about + tenths / 10 for tenths in range(-8, 9, 2)), key=lambda angle: _row_contrast(fine, angle))
    clear = _row_contrast(fine, found) > MIN_GAIN * _row_contrast(fine, 0)
    return found if clear and abs(found) >= MIN_SKEW else 0.0


def _scaled_down(image: Image.Image, height: int) -> Image.Image:
    width = max(1, image.width * height // image.height)
    return image.resize((width, height), Image.Resampling.BOX)


def _row_contrast(image: Image.Image, angle: float) -> int:
    """Return the sum of squared differences between adjacent rows of the image rotated by `angle`."""
    rotated = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=0)
    rows = rotated.resize((1, image.height), Image.Resampling.BOX).tobytes()
    return sum((above - below) ** 2 for above, below in pairwise(rows))

"""Draws examples/scan.txt as a scanned page, examples/scan.pdf, so that the README has a document to read.

`python -m examples.make_scan` writes the file again, from the root of the repository. The noise has a fixed seed:
the same versions of Pillow and img2pdf write the same file.
"""

import io
import random
from pathlib import Path

import img2pdf
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent
DPI = 150
A4_INCHES = (8.27, 11.69)
MARGIN_INCHES = 1.0
TYPE_POINTS = 13
LINE_POINTS = 22
SKEW_DEGREES = 0.4
"""As a sheet lies on the glass."""
NOISE_LEVELS = 16
"""How far, of 255, the paper may be darker than white."""
JPEG_QUALITY = 35


def scanned_page(text: str) -> Image.Image:
    """An A4 page of `text` as a scanner sees it: a little skewed, soft and grainy."""
    size = (round(A4_INCHES[0] * DPI), round(A4_INCHES[1] * DPI))
    page = Image.new("L", size, "white")
    font = ImageFont.load_default(size=TYPE_POINTS * DPI / 72)
    margin = MARGIN_INCHES * DPI
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(text.splitlines()):
        draw.text((margin, margin + number * LINE_POINTS * DPI / 72), line, fill=24, font=font)
    page = page.rotate(SKEW_DEGREES, resample=Image.Resampling.BICUBIC, fillcolor="white")
    return ImageChops.subtract(page.filter(ImageFilter.GaussianBlur(0.5)), _grain(size))


def _grain(size: tuple[int, int]) -> Image.Image:
    grain = Image.frombytes("L", size, random.Random(7).randbytes(size[0] * size[1]))  # noqa: S311 - no secret
    return grain.point(lambda level: level * NOISE_LEVELS // 255)


def as_pdf(page: Image.Image) -> bytes:
    """A PDF whose one page is this picture."""
    picture = io.BytesIO()
    page.save(picture, format="JPEG", quality=JPEG_QUALITY, dpi=(DPI, DPI))
    document: bytes = img2pdf.convert(picture.getvalue(), nodate=True, engine=img2pdf.Engine.internal)
    return document


def main() -> None:
    """Write examples/scan.pdf."""
    text = (FOLDER / "scan.txt").read_text(encoding="utf-8")
    (FOLDER / "scan.pdf").write_bytes(as_pdf(scanned_page(text)))


if __name__ == "__main__":
    main()

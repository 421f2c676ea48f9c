"""Documents made for the tests: known text, drawn with the font that Pillow brings."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pikepdf
from PIL import Image, ImageDraw, ImageFont

LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen liquor jugs.",
    "Every scan is a picture until somebody reads it.",
    "Twelve sailors loaded ninety barrels before noon.",
)
WORDS = {word.strip(".").lower() for line in LINES for word in line.split()}


def page(lines: Sequence[str] = LINES, *, dpi: int = 150, mode: str = "L") -> Image.Image:
    """A letter page with `lines` in 14-point type."""
    image = Image.new(mode, (int(8.5 * dpi), 11 * dpi), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=14 * dpi / 72)
    for number, line in enumerate(lines):
        draw.text((dpi, dpi * (1 + number * 0.4)), line, fill="black", font=font)
    return image


def noise(size: tuple[int, int], deviation: float) -> Image.Image:
    """Grey noise around the middle level, the same each time."""
    levels = np.random.default_rng(1).normal(128, deviation, (size[1], size[0]))
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    """`image` as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()


def scanned_pdf(pages: Sequence[Image.Image], dpi: int = 150) -> bytes:
    """A PDF of pictures only."""
    return encoded(pages[0], "PDF", save_all=True, append_images=list(pages[1:]), resolution=dpi)


def text_pdf(text: str) -> bytes:
    """A PDF of one page with real text."""
    with pikepdf.new() as document:
        document.add_blank_page(page_size=(612, 792))
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
        )
        document.pages[0].Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        document.pages[0].Contents = document.make_stream(f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode())
        buffer = io.BytesIO()
        document.save(buffer)
    return buffer.getvalue()


def encrypted_pdf() -> bytes:
    """A PDF that asks for a password."""
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(text_pdf("secret"))) as document:
        document.save(buffer, encryption=pikepdf.Encryption(user="u", owner="o"))
    return buffer.getvalue()


def word_f1(found: str, truth: str) -> float:
    """F1 of the bags of words (runs of letters and digits), case aside."""
    remaining, words = re.findall(r"\w+", truth.lower()), re.findall(r"\w+", found.lower())
    total = len(remaining) + len(words)
    hits = 0
    for word in words:
        if word in remaining:
            remaining.remove(word)
            hits += 1
    return 2 * hits / total


def write(folder: Path, name: str, content: bytes) -> Path:
    """A file of that content."""
    path = folder / name
    path.write_bytes(content)
    return path

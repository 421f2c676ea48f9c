"""Scans drawn for the benchmark, and their pages as picture files."""

import random
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
from PIL import Image, ImageDraw, ImageFont

DPI = 300
VOCABULARY = (
    *("harbour", "cargo", "vessel", "ledger", "captain", "invoice", "timber", "barrel", "anchor", "voyage"),
    *("merchant", "season", "number", "delivery", "seventeen", "account", "receive", "certain", "between"),
    *("the", "of", "and", "to", "in", "that", "it", "was", "for", "on", "with", "as", "at", "by", "from"),
)


def draw_scan(path: Path, pages: int, seed: int) -> None:
    """Write a scanned PDF: full pages of 11-point text, numbered, slightly noisy, as JPEG."""
    chance = random.Random(seed)  # noqa: S311 - the same pages for the same seed
    font = ImageFont.load_default(size=11 * DPI / 72)
    noise = Image.effect_noise((int(8.27 * DPI), int(11.69 * DPI)), 12).point(lambda value: min(255, value + 110))

    def drawn() -> Iterator[Image.Image]:
        for number in range(1, pages + 1):
            image = noise.copy()
            draw = ImageDraw.Draw(image)
            draw.text((DPI, DPI * 0.5), f"Sheet {number} of {pages}", fill=20, font=font)
            for row in range(44):
                line = " ".join(chance.choices(VOCABULARY, k=11))
                draw.text((DPI, DPI * 0.8 + row * DPI * 0.22), line, fill=20, font=font)
            yield image

    images = drawn()
    next(images).save(path, "PDF", save_all=True, append_images=images, resolution=DPI)


def rasterise(pdf: Path, folder: Path) -> list[Path]:
    """Write the pages as PNG files. Returns their paths."""
    paths = []
    for number, page in enumerate(pypdfium2.PdfDocument(pdf)):
        path = folder / f"{number}.png"
        page.render(scale=DPI / 72, grayscale=True).to_pil().save(path, dpi=(DPI, DPI), compress_level=1)
        paths.append(path)
    return paths

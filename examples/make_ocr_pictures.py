"""Draws the pictures of docs/ocr.md: documents that are made here, and what the OCR service finds in them.

`python -m examples.make_ocr_pictures` writes docs/pictures again, from the root of the repository. It needs
Tesseract. Blue boxes are words, with what was found over them; orange is print that no word stands for.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from benchmarks.ocr.truths import read
from benchmarks.ocr.word_boxes import boxed_pages
from libs.common.contracts.ocr import Block, OcrOptions
from services.gateway.endpoints.uploads import media_type_of
from services.ocr.lighting import evened
from services.ocr.print_cover import DOUBTFUL_BELOW, TILE, tiles_of_print
from services.ocr.tesseract import installed_engine, recognise
from tests.drawn_pdf import drawn_pdf, layer, scan, whole_page
from tests.pictures import LINES, encoded, page

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SHOWN = (80, 70, 900, 430)
"""The part of a page that has something on it, in pixels: left, top, right, bottom."""
COLOURS, ORANGE = 40, (255, 170, 60)
WRONG = tuple(line.replace("ck", "dc").replace("ill", "iII").replace("oad", "oacl") for line in LINES)
"""The lines as an earlier program read them."""


def found_in(content: bytes, folder: Path, **options: Any) -> tuple[Image.Image, dict[str, Any]]:
    """Read a document of one page. Returns the page with boxes, and what words.json says of it."""
    source = folder / "source"
    source.write_bytes(content)
    read(source, media_type_of(content) or "", OcrOptions(**options), folder)
    pages = json.loads((folder / "words.json").read_text())["pages"]
    (picture,) = boxed_pages(folder / "document.pdf", pages, named=True)
    return picture, pages[0]


def draw_text_options(folder: Path) -> None:
    """A scan with the layer of an earlier program: three of its lines, with faults."""
    content = drawn_pdf(whole_page() + layer(0, 3, WRONG), {"Scan": scan()})
    for option in ("keep", "fill", "replace"):
        picture, _ = found_in(content, folder, text=option)
        save(f"text-{option}", [picture.crop(SHOWN)])


def draw_shadow(folder: Path) -> None:
    """A page in a shadow, as Tesseract alone finds it, and as the service does."""
    white = page(dpi=150).crop((0, 0, 1275, 760))
    light = Image.linear_gradient("L").rotate(90).resize(white.size).point(lambda level: 60 + level * 195 // 255)
    photograph = ImageChops.multiply(white, light)
    source = folder / "shadow.png"
    photograph.save(source, dpi=(150, 150))
    alone = recognise(installed_engine("tesseract"), source, folder / "alone", languages="eng", psm=3, dpi=150)
    after, _ = found_in(source.read_bytes(), folder)
    before = photograph.convert("RGB").resize(after.size)
    mark(before, alone.blocks, before.width / photograph.width)
    save("shadow", [before.crop((40, 70, 900, 380)), after.crop((40, 70, 900, 380))])


def draw_unread(folder: Path) -> None:
    """A page with a line upside down, which is not read."""
    sheet = page(dpi=150)
    sheet.paste(
        page(["Received on the third of March"], dpi=150).crop((140, 140, 900, 190)).rotate(180), (140, 410)
    )
    picture, found = found_in(encoded(sheet, "PNG", dpi=(150, 150)), folder)
    rest = evened(sheet.resize((850, 1100), Image.Resampling.BOX))
    blank = ImageDraw.Draw(rest)
    for word in (word for block in found["blocks"] for line in block["lines"] for word in line["words"]):
        left, top, right, bottom = (edge * 100 / 150 for edge in word["box"])
        if word["confidence"] >= DOUBTFUL_BELOW:
            blank.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill="white")
    tiles = tiles_of_print(rest)
    print_left = tiles.resize((tiles.width * TILE[0], tiles.height * TILE[1]), Image.Resampling.NEAREST)
    whole = Image.new("L", rest.size)
    whole.paste(print_left)
    orange = ImageChops.multiply(picture, Image.new("RGB", picture.size, ORANGE))
    picture.paste(orange, mask=whole.resize(picture.size, Image.Resampling.NEAREST))
    print(f"unread_area {found['unread_area']}")
    save("unread", [picture.crop(SHOWN)])


def draw_damaged(folder: Path) -> None:
    """A JPEG that ends too early."""
    content = encoded(page(dpi=150).crop((0, 0, 1275, 600)), "JPEG", quality=50, dpi=(150, 150))
    picture, _ = found_in(content[: len(content) * 8 // 10], folder)
    save("damaged", [picture.crop((80, 70, 900, 430))])


def mark(picture: Image.Image, blocks: Sequence[Block], scale: float) -> None:
    """Draw boxes around words."""
    canvas = ImageDraw.Draw(picture)
    for word in (word for block in blocks for line in block.lines for word in line.words):
        canvas.rectangle(tuple(edge * scale for edge in word.box), outline=(0, 110, 220))


def save(name: str, pictures: Sequence[Image.Image]) -> None:
    """Write pictures one below the other, in few colours, with a frame."""
    height = sum(picture.height for picture in pictures) + 12 * (len(pictures) - 1)
    whole, top = Image.new("RGB", (pictures[0].width, height), "white"), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        ImageDraw.Draw(whole).rectangle(
            (0, top, picture.width - 1, top + picture.height - 1), outline=(160, 160, 160)
        )
        top += picture.height + 12
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    os.environ["OMP_THREAD_LIMIT"] = "1"
    FOLDER.mkdir(exist_ok=True)
    for draw in (draw_text_options, draw_shadow, draw_unread, draw_damaged):
        with tempfile.TemporaryDirectory() as name:
            draw(Path(name))

"""Pictures of pages with a box around every word, to be looked at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image, ImageDraw, ImageFont

from services.ocr.pdf_page import open_page

SCALE = 1.5
"""Pixels a point."""
SURE, UNSURE = (0, 110, 220), (220, 60, 0)
UNSURE_BELOW = 60
NAME_PX = 12


def draw_boxes(document: Path, pages: Sequence[dict[str, Any]], base: Path) -> None:
    """Write `base`-1.png and so on: the pages of a PDF, with the boxes of `pages` of words.json."""
    base.parent.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(boxed_pages(document, pages), 1):
        picture.save(f"{base}-{number}.png")


def boxed_pages(document: Path, pages: Sequence[dict[str, Any]], *, named: bool = False) -> Iterator[Image.Image]:
    """Yield the pages of a PDF with the boxes of `pages` of words.json. `named`: with the words over them."""
    opened = pypdfium2.PdfDocument(document)
    font = ImageFont.load_default(size=NAME_PX)
    for number, page in enumerate(pages, 1):
        picture = open_page(opened, number).render(scale=SCALE, rev_byteorder=True).to_pil().convert("RGB")
        canvas = ImageDraw.Draw(picture)
        across, down = picture.width / page["width"], picture.height / page["height"]
        for word in (word for block in page["blocks"] for line in block["lines"] for word in line["words"]):
            left, top, right, bottom = word["box"]
            colour = SURE if word["confidence"] >= UNSURE_BELOW else UNSURE
            canvas.rectangle((left * across, top * down, right * across, bottom * down), outline=colour)
            if named:
                canvas.text((left * across, top * down - NAME_PX - 3), word["text"], fill=colour, font=font)
        yield picture

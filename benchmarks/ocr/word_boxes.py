"""Pictures of pages with a box around every word, to be looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import ImageDraw

from services.ocr.pdf_page import open_page

SCALE = 1.5
"""Pixels a point."""
SURE, UNSURE = (0, 110, 220), (220, 60, 0)
UNSURE_BELOW = 60


def draw_boxes(document: Path, pages: Sequence[dict[str, Any]], base: Path) -> None:
    """Write `base`-1.png and so on: the pages of a PDF, with the boxes of `pages` of words.json."""
    base.parent.mkdir(parents=True, exist_ok=True)
    opened = pypdfium2.PdfDocument(document)
    for number, page in enumerate(pages, 1):
        picture = open_page(opened, number).render(scale=SCALE, rev_byteorder=True).to_pil().convert("RGB")
        canvas = ImageDraw.Draw(picture)
        across, down = picture.width / page["width"], picture.height / page["height"]
        for word in (word for block in page["blocks"] for line in block["lines"] for word in line["words"]):
            left, top, right, bottom = word["box"]
            colour = SURE if word["confidence"] >= UNSURE_BELOW else UNSURE
            canvas.rectangle((left * across, top * down, right * across, bottom * down), outline=colour)
        picture.save(f"{base}-{number}.png")

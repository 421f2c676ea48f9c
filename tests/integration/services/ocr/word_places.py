"""Where the words of words.json and of document.pdf are, beside the ink that a viewer shows."""

import re
from collections.abc import Iterator
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from services.ocr.pdf_page import open_page
from tests.integration.services.ocr.read_words import words_of

NEAR = 0.02
"""Share of the page."""
DRAWN_SCALE, DRAWN_EDGE_PX = 2.0, 1500
"""Pages are drawn at 144 dpi, and small ones larger."""
Place = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the page shown."""


def words_off_their_ink(document: bytes, pages: list[dict[str, Any]], *, upright: bool = False) -> list[str]:
    """The words of words.json that have no ink in their box, or nothing like them near in document.pdf; and the
    words of document.pdf that have no ink in theirs. `upright`: turned pages are upright in document.pdf."""
    wrong = []
    opened = pypdfium2.PdfDocument(document)
    assert len(opened) == len(pages)
    for number, page in enumerate(pages, 1):
        sheet = open_page(opened, number)
        scale = max(DRAWN_SCALE, DRAWN_EDGE_PX / max(sheet.get_size()))
        ink = sheet.render(scale=scale, grayscale=True).to_pil().point(lambda level: 255 * (level < 160))
        of_pdf = list(words_of_pdf(sheet))
        wrong += [f"document.pdf: {text}" for text, place in of_pdf if not _has_ink(ink, place)]
        for word in words_of([page]):
            left, top, right, bottom = word["box"]
            place = (left / page["width"], top / page["height"], right / page["width"], bottom / page["height"])
            for _ in range(page["rotation"] // 90 if upright else 0):
                place = (place[1], 1 - place[2], place[3], 1 - place[0])
            near = any(_same(word["text"], text) and _are_near(place, other) for text, other in of_pdf)
            if not (near and _has_ink(ink, place)):
                wrong.append(f"words.json: {word['text']}")
    return wrong


def words_of_pdf(sheet: pypdfium2.PdfPage) -> Iterator[tuple[str, Place]]:
    """The words that PDFium finds, hidden or not, and where they are on the page shown."""
    textpage = sheet.get_textpage()
    text = "".join(chr(pdfium.FPDFText_GetUnicode(textpage, index)) for index in range(textpage.count_chars()))
    x0, y0, x1, y1 = sheet.get_bbox()
    for match in re.finditer(r"[^\s\ufffe\x02]+", text):
        boxes = [textpage.get_charbox(index) for index in range(*match.span())]
        lefts, bottoms, rights, tops = zip(*boxes, strict=True)
        place = (
            (min(lefts) - x0) / (x1 - x0),
            (y1 - max(tops)) / (y1 - y0),
            (max(rights) - x0) / (x1 - x0),
            (y1 - min(bottoms)) / (y1 - y0),
        )
        for _ in range(sheet.get_rotation() // 90):
            left, top, right, bottom = place
            place = (1 - bottom, left, 1 - top, right)
        yield match[0], place


def _has_ink(ink: Image.Image, place: Place) -> bool:
    left, top, right, bottom = place
    width, height = ink.size
    box = (int(left * width), int(top * height), int(right * width) + 1, int(bottom * height) + 1)
    return ink.crop(box).getbbox() is not None


def _are_near(one: Place, other: Place) -> bool:
    across = abs(one[0] + one[2] - other[0] - other[2]) / 2
    down = abs(one[1] + one[3] - other[1] - other[3]) / 2
    return across < NEAR and down < NEAR


def _same(one: str, other: str) -> bool:
    """Whether it is the same word, or PDFium has a part of it or glues it to the next."""
    one, other = ("".join(filter(str.isalnum, text)) for text in (one, other))
    return one == other

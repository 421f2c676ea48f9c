"""The existing text of a PDF page: whether it is usable, and its words with their bounding boxes."""

import ctypes
import unicodedata

import pypdfium2
import pypdfium2.raw

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.tesseract import bounding_box

SCANNED_SHARE = 0.5
"""A page of which an image covers more than this share is a scan …"""
SCAN_CHARACTERS = 100
"""… unless it has at least this many characters: then OCR was done before. Fewer are a stamp or page number."""
IMAGE_SHARE = 0.1
"""On a page with text, an image that covers more than this share may contain text. A smaller one is a logo."""
READABLE_SHARE = 0.8
"""With a smaller share of readable characters the font has no Unicode mapping, and the text is noise."""


def usable_text(page: pypdfium2.PdfPage) -> str | None:
    """Return the text of the page, or None if the page should be read as an image instead."""
    text: str = page.get_textpage().get_text_range()
    visible = [character for character in text if not character.isspace()]
    if not visible:
        return None
    if sum(map(_is_readable, visible)) < READABLE_SHARE * len(visible):
        return None
    if len(visible) < SCAN_CHARACTERS and _image_share(page) > SCANNED_SHARE:
        return None
    return text.replace("\r\n", "\n").replace("\x00", "")


def has_images(page: pypdfium2.PdfPage) -> bool:
    """Whether a page with text has images to be read too. If one covers the page, the text came from OCR of it."""
    return IMAGE_SHARE < _image_share(page) <= SCANNED_SHARE


def text_blocks(page: pypdfium2.PdfPage, scale: float) -> list[Block]:
    """Return the page's words, in one block per paragraph. `scale`: pixels per point."""
    textpage = page.get_textpage()
    lines: list[list[Line]] = [[]]
    words: list[Word] = []
    letters: list[int] = []
    text: str = textpage.get_text_range()

    def end_word() -> None:
        if letters:
            words.append(_word(page, textpage, letters, text, scale))
            letters.clear()

    def end_line() -> None:
        end_word()
        if words:
            lines[-1].append(Line(box=bounding_box([word.box for word in words]), words=list(words)))
            words.clear()
        elif lines[-1]:
            lines.append([])  # an empty line ends a block

    for index, character in enumerate(text):
        if character == "\n":
            end_line()
        elif character.isspace():
            end_word()
        else:
            letters.append(index)
    end_line()
    return [Block(box=bounding_box([line.box for line in block]), lines=block) for block in lines if block]


def _word(
    page: pypdfium2.PdfPage, textpage: pypdfium2.PdfTextPage, letters: list[int], text: str, scale: float
) -> Word:
    lefts, bottoms, rights, tops = zip(*(textpage.get_charbox(index) for index in letters), strict=True)
    box = _to_pixels(page, scale, (min(lefts), min(bottoms)), (max(rights), max(tops)))
    return Word(text="".join(text[index] for index in letters), box=box, confidence=100.0)


def _to_pixels(page: pypdfium2.PdfPage, scale: float, *corners: tuple[float, float]) -> Box:
    """Convert a box from PDF coordinates to pixels of the displayed page, after /Rotate and CropBox."""
    width, height = (round(edge * scale) for edge in page.get_size())
    x, y = ctypes.c_int(), ctypes.c_int()
    points = []
    for across, up in corners:
        pypdfium2.raw.FPDF_PageToDevice(page, 0, 0, width, height, 0, across, up, ctypes.byref(x), ctypes.byref(y))
        points.append((x.value, y.value))
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _is_readable(character: str) -> bool:
    return character != "\ufffd" and unicodedata.category(character) not in ("Co", "Cn", "Cc", "Cs")


def _image_share(page: pypdfium2.PdfPage) -> float:
    """Return the share of the page that its largest image covers."""
    width, height = page.get_size()
    largest = 0.0
    for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = item.get_bounds()
        largest = max(largest, abs(right - left) * abs(top - bottom))
    return largest / max(1.0, float(width * height))

"""The text a PDF page already has: whether to trust it, and its words with their places."""

import ctypes
import unicodedata

import pypdfium2
import pypdfium2.raw

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.tesseract import around

SCANNED_SHARE = 0.5
"""A page whose images cover more than this share of it is a scan …"""
SCAN_CHARACTERS = 100
"""… unless it has at least this much text: then it has been read before. Less is a stamp or a page number."""
PICTURE_SHARE = 0.1
"""A picture that covers more of a page with text than this may have text of its own; less is a logo."""
READABLE_SHARE = 0.8
"""Below this share of characters with a meaning, the font has no mapping and the text is noise."""


def real_text(page: pypdfium2.PdfPage) -> str | None:
    """The page's own text, or None where the page should be read as an image instead."""
    text: str = page.get_textpage().get_text_range()
    solid = [character for character in text if not character.isspace()]
    if not solid:
        return None
    if sum(map(_has_meaning, solid)) < READABLE_SHARE * len(solid):
        return None
    if len(solid) < SCAN_CHARACTERS and _image_share(page) > SCANNED_SHARE:
        return None
    return text.replace("\r\n", "\n").replace("\x00", "")


def has_pictures(page: pypdfium2.PdfPage) -> bool:
    """Whether a page with text has pictures worth reading too. One that covers the page has been read before."""
    return PICTURE_SHARE < _image_share(page) <= SCANNED_SHARE


def text_blocks(page: pypdfium2.PdfPage, scale: float) -> list[Block]:
    """The page's words in one block a paragraph. `scale`: pixels per point."""
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
            lines[-1].append(Line(box=around([word.box for word in words]), words=list(words)))
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
    return [Block(box=around([line.box for line in block]), lines=block) for block in lines if block]


def _word(
    page: pypdfium2.PdfPage, textpage: pypdfium2.PdfTextPage, letters: list[int], text: str, scale: float
) -> Word:
    lefts, bottoms, rights, tops = zip(*(textpage.get_charbox(index) for index in letters), strict=True)
    box = _on_the_page(page, scale, (min(lefts), min(bottoms)), (max(rights), max(tops)))
    return Word(text="".join(text[index] for index in letters), box=box, confidence=100.0)


def _on_the_page(page: pypdfium2.PdfPage, scale: float, *corners: tuple[float, float]) -> Box:
    """A box of the page's own space as the page is seen, in pixels: turned by /Rotate, cut to its CropBox."""
    width, height = (round(edge * scale) for edge in page.get_size())
    x, y = ctypes.c_int(), ctypes.c_int()
    seen = []
    for across, up in corners:
        pypdfium2.raw.FPDF_PageToDevice(page, 0, 0, width, height, 0, across, up, ctypes.byref(x), ctypes.byref(y))
        seen.append((x.value, y.value))
    xs, ys = zip(*seen, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _has_meaning(character: str) -> bool:
    return character != "\ufffd" and unicodedata.category(character) not in ("Co", "Cn", "Cc", "Cs")


def _image_share(page: pypdfium2.PdfPage) -> float:
    """How much of the page its largest image covers."""
    width, height = page.get_size()
    largest = 0.0
    for item in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = item.get_bounds()
        largest = max(largest, abs(right - left) * abs(top - bottom))
    return largest / max(1.0, float(width * height))

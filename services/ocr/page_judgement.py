"""Judges the text that a PDF page has of its own by what is drawn on the page.

A person reads what is drawn. So the page is drawn twice, small: with and without its text. Text that makes no
difference is not seen: it is hidden, lies off the page, has the ground's colour, or is the invisible layer of a
scan. Such a layer stands for the print beneath it. What no trusted text stands for, and looks like print, has to
be read from the picture.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image, ImageChops, ImageDraw

from libs.common.contracts.ocr import Box
from services.ocr.pdf_page import draw_small
from services.ocr.plausibility import is_implausible
from services.ocr.print_marks import extrema, has_print
from services.ocr.tesseract import bounding_box
from services.ocr.text_layer import OwnBlock, OwnLine, OwnWord, TextObject, own_blocks

READABLE_SHARE = 0.8
"""With a smaller share of readable letters the font has no Unicode mapping, and the text is noise."""
FEW_LETTERS = 3
"""A piece of text with fewer letters, such as a bullet, is judged with the page."""
DIFFERENCE = 24
"""Levels of grey from which a letter is told from its ground."""
PLACED_SHARE = 0.5
"""A layer of which less lies on ink is a layer of another page, or lies elsewhere."""
CHARACTERS_OF_A_LAYER = 100
"""A layer with fewer, on a page that has more print, is no reading of it. It is read with the rest."""
MARGIN = 0.2
"""What is blanked out around a word of a layer, as a share of its height."""
TEXT, FORM = pdfium.FPDF_PAGEOBJ_TEXT, pdfium.FPDF_PAGEOBJ_FORM
GAP_IN_A_LINE = 1.0
"""What parts columns of print, as a share of the height of a line."""
FAINT = 6
"""Levels of grey by which a column of pixels with ink is darker than one without."""
NO_COLOUR = (255, 0, 255)
"""A ground on which text of any usual colour is seen."""


@dataclass(frozen=True, slots=True)
class OwnText:
    """The text of a page that can be trusted, and what is left to be read."""

    blocks: list[OwnBlock]
    to_read: bool
    """Something else on the page looks like print."""
    doubted: bool
    """The words are hardly of any language."""
    seen: list[TextObject]
    """What draws the words that are seen."""
    layer: list[OwnLine]
    """The words that are not seen, but stand for print beneath them."""

    @contextmanager
    def left_out(self, page: pypdfium2.PdfPage) -> Iterator[None]:
        """Draw the page without this text while the block runs."""
        with _without(item.handle for item in self.seen):
            yield

    def blank_out_layer(self, image: Image.Image) -> None:
        """Paint over the print that is known from the layer."""
        boxes = [box for line in self.layer for box in _print_beneath(image, line)]
        canvas = ImageDraw.Draw(image)
        for box in boxes:
            canvas.rectangle(box, fill="white")


def judge(page: pypdfium2.PdfPage) -> OwnText | None:
    """Return the text of the page that can be trusted, or None if there is none."""
    blocks = own_blocks(page)
    words = _readable(blocks)
    if not words:
        return None
    pictures = _Pictures(page, _objects(words_of(blocks)))
    seen = [word for word in words if word.drawn and pictures.shows(word)]
    layer = _layer(pictures, words, seen)
    own = _own_text(blocks, seen, layer, pictures)
    if layer and own.to_read and sum(len(word.text) for word in layer) < CHARACTERS_OF_A_LAYER:
        own = _own_text(blocks, seen, [], pictures)
    return own if own.blocks else None


def _own_text(
    blocks: Sequence[OwnBlock], seen: Sequence[OwnWord], layer: Sequence[OwnWord], pictures: "_Pictures"
) -> OwnText:
    kept = _only(blocks, [*seen, *layer])
    lines = [line for block in _only(blocks, layer) for line in block]
    own = OwnText(kept, False, is_implausible([word.text for word in words_of(kept)]), _objects(seen), lines)
    rest = pictures.without(own.seen)
    own.blank_out_layer(rest)
    return replace(own, to_read=has_print(rest))


class _Pictures:
    """The page drawn small in several ways, each when it is needed and once."""

    def __init__(self, page: pypdfium2.PdfPage, drawn: Sequence[TextObject]) -> None:
        self._page = page
        self._drawn = drawn

    def shows(self, word: OwnWord) -> bool:
        """Whether the page looks different because of the word."""
        return _has_ink(self._difference, word)

    def has_beneath(self, word: OwnWord) -> bool:
        """Whether the page has ink where the word is, beside the word itself."""
        beneath = self._without_text.crop(word.pixels(*self._without_text.size, MARGIN))
        darkest, lightest = extrema(beneath)
        return lightest - darkest > DIFFERENCE

    def covers(self, word: OwnWord) -> bool:
        """Whether the word would be seen if nothing but text were drawn: a picture lies over it."""
        return _has_ink(self._text_alone, word)

    def without(self, objects: Sequence[TextObject]) -> Image.Image:
        """Return a picture of the page without these pieces of text."""
        if len(objects) == len(self._drawn):
            return self._without_text.copy()
        with _without(item.handle for item in objects):
            return draw_small(self._page)

    @cached_property
    def _without_text(self) -> Image.Image:
        with _without(item.handle for item in self._drawn):
            return draw_small(self._page)

    @cached_property
    def _difference(self) -> Image.Image:
        return _ink(ImageChops.difference(draw_small(self._page), self._without_text))

    @cached_property
    def _text_alone(self) -> Image.Image:
        others = [item for item in self._page.get_objects() if item.type not in (TEXT, FORM)]
        with _without(item.raw for item in others):
            drawn = draw_small(self._page, ground=NO_COLOUR)
        return _ink(ImageChops.difference(drawn, Image.new("RGB", drawn.size, NO_COLOUR)).convert("L"))


def words_of(blocks: Sequence[OwnBlock]) -> list[OwnWord]:
    """Return all words of the blocks."""
    return [word for block in blocks for line in block for word in line]


def _readable(blocks: Sequence[OwnBlock]) -> list[OwnWord]:
    """Return the words on the page whose font says which letters they are."""
    words = words_of(blocks)
    letters, unreadable = Counter[int](), Counter[int]()
    for word in words:
        for item in word.objects:
            letters[id(item)] += len(word.text)
            unreadable[id(item)] += word.unreadable
    all_readable = unreadable.total() <= (1 - READABLE_SHARE) * letters.total()

    def is_readable(item: TextObject) -> bool:
        number = letters[id(item)]
        return unreadable[id(item)] <= (1 - READABLE_SHARE) * number or (number < FEW_LETTERS and all_readable)

    return [word for word in words if word.text and _is_on_page(word) and all(map(is_readable, word.objects))]


def _layer(pictures: _Pictures, words: Sequence[OwnWord], seen: Sequence[OwnWord]) -> list[OwnWord]:
    """Return the words that are not seen but stand for print. A layer that mostly lies elsewhere has none."""
    seen_ids = {id(word) for word in seen}
    hidden = [word for word in words if id(word) not in seen_ids]
    layer = [word for word in hidden if not word.drawn or pictures.covers(word)]
    placed = [word for word in layer if pictures.has_beneath(word)]
    return placed if len(placed) >= PLACED_SHARE * len(layer) else []


def _only(blocks: Sequence[OwnBlock], words: Sequence[OwnWord]) -> list[OwnBlock]:
    """Return the blocks with those words only."""
    kept = {id(word) for word in words}
    lines = [[[word for word in line if id(word) in kept] for line in block] for block in blocks]
    return [block for block in ([line for line in block if line] for block in lines) if block]


def _objects(words: Iterable[OwnWord]) -> list[TextObject]:
    """Return what draws the words, each once."""
    return [*{id(item): item for word in words for item in word.objects if item.drawn}.values()]


def _is_on_page(word: OwnWord) -> bool:
    left, top, right, bottom = word.box
    return 0 <= left + right <= 2 and 0 <= top + bottom <= 2


def _print_beneath(image: Image.Image, line: OwnLine) -> Iterator[Box]:
    """Yield the boxes of the print that a line of the layer stands for. Layers are often narrower than it."""
    boxes = sorted(word.pixels(*image.size, MARGIN) for word in line)
    while boxes:
        part = [boxes.pop(0)]
        top, bottom = part[0][1], max(part[0][3], part[0][1] + 1)
        gap = round(GAP_IN_A_LINE * (bottom - top))
        while boxes and boxes[0][0] - max(box[2] for box in part) < gap:
            part.append(boxes.pop(0))
        left, top, right, bottom = bounding_box(part)
        columns = image.crop((0, top, image.width, max(bottom, top + 1))).resize(
            (image.width, 1), Image.Resampling.BOX
        )
        levels = columns.tobytes()
        light = max(levels) - FAINT
        while (end := _last_ink(levels[right : right + gap], light)) is not None:
            right += end + 1
        while (start := _last_ink(levels[max(0, left - gap) : left][::-1], light)) is not None:
            left -= start + 1
        yield left, top, right, bottom


def _last_ink(levels: bytes, light: int) -> int | None:
    """Return the index of the last darker column, if there is any."""
    dark = [index for index, level in enumerate(levels) if level < light]
    return dark[-1] if dark else None


def _ink(image: Image.Image) -> Image.Image:
    return image.point(lambda level: 255 if level > DIFFERENCE else 0)


def _has_ink(image: Image.Image, word: OwnWord) -> bool:
    left, top, right, bottom = word.pixels(*image.size)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1))).getbbox() is not None


@contextmanager
def _without(handles: Iterable[pdfium.FPDF_PAGEOBJECT]) -> Iterator[None]:
    """Draw the page without these objects while the block runs."""
    held = list(handles)
    for handle in held:
        pdfium.FPDFPageObj_SetIsActive(handle, False)
    try:
        yield
    finally:
        for handle in held:
            pdfium.FPDFPageObj_SetIsActive(handle, True)

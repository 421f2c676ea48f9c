"""The text that a PDF page has of its own: its words, and where they are.

PDFium names the letters and their places. Words are told apart by the gaps between letters: some programs set
words without spaces between them, others tear words apart.
"""

import ctypes
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pypdfium2
import pypdfium2.raw as pdfium

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.tesseract import bounding_box

Share = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the page as it is shown, after /Rotate and CropBox."""
WORD_GAP = 0.1
"""Gap between two words, as a share of the font size, beside the usual gap of the line. TeX goes down to 0.13."""
SURE_GAP = 0.05
"""A smaller gap does not part words, though there may be a space."""
GAPS_OF_A_LINE, WIDEST_USUAL_GAP, WIDEST_BESIDE_SPACES = 6, 0.4, 1.0
"""With fewer gaps, the usual one is taken for zero. Letters that stand farther apart are words of one letter,
unless the line has spaces of its own: then it is a headline that is set widely."""
LEVEL = 0.02
"""Sine of the angle up to which a line is level, and cosine of that up to which it is upright."""
INVISIBLE = (pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP)
LINE_END_HYPHEN = (0x02, 0xFFFE)
"""What PDFium calls the hyphen that divides a word at the end of a line. It gives no line break after it."""
_PRECISION = 1 << 20
"""Steps in which PDFium is asked for places on the page: it answers in whole numbers."""


@dataclass(frozen=True, slots=True)
class TextObject:
    """A piece of text as the page draws it. `drawn`: it is to be seen, unless something hides it."""

    handle: pdfium.FPDF_PAGEOBJECT
    drawn: bool


@dataclass(slots=True)
class OwnWord:
    """A word of the page's own text."""

    text: str
    box: Share
    objects: list[TextObject]
    """What draws its letters."""
    unreadable: int
    """Letters that have no meaning, as their font does not say which they are."""

    @property
    def drawn(self) -> bool:
        """Whether any of its letters is to be seen."""
        return any(item.drawn for item in self.objects)

    def pixels(self, width: int, height: int, margin: float = 0.0) -> Box:
        """Return the box in pixels of an image of the page. `margin`: a share of the word's height to be added."""
        left, top, right, bottom = self.box
        more = margin * (bottom - top) * height
        return (
            max(0, round(left * width - more)),
            max(0, round(top * height - more)),
            min(width, round(right * width + more)),
            min(height, round(bottom * height + more)),
        )


OwnLine = list[OwnWord]
OwnBlock = list[OwnLine]


def own_blocks(page: pypdfium2.PdfPage) -> list[OwnBlock]:
    """Return the words of the page, drawn or not, in lines and paragraphs."""
    blocks: list[OwnBlock] = [[]]
    to_share = _to_share(page)
    for letters in _lines(page):
        line = [_word(part, to_share) for part in _split(letters)]
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])  # an empty line ends a paragraph
    return [block for block in blocks if block]


def to_blocks(blocks: Sequence[OwnBlock], width: int, height: int) -> list[Block]:
    """Return the words with their places on an image of the page, of that size in pixels."""
    found = []
    for block in blocks:
        lines = []
        for own in block:
            words = [Word(text=word.text, box=word.pixels(width, height), confidence=100.0) for word in own]
            lines.append(Line(box=bounding_box([word.box for word in words]), words=words))
        found.append(Block(box=bounding_box([line.box for line in lines]), lines=lines))
    return found


def _is_readable(character: str) -> bool:
    if " " < character < "\x7f":
        return True
    return character != "\ufffd" and unicodedata.category(character) not in ("Co", "Cn", "Cc", "Cs")


def _is_character(character: str) -> bool:
    """Whether it may be in a text. Private ones may: fonts of symbols have them."""
    return _is_readable(character) or unicodedata.category(character) == "Co"


@dataclass(slots=True)
class _Letter:
    """A letter. `tight`: the box of its ink; `loose`: of its share of the line, in points of the page."""

    text: str
    tight: tuple[float, float, float, float]
    loose: tuple[float, float, float, float]
    object: TextObject | None
    space: bool = False
    """There is a space before it."""
    guessed: bool = False
    """The space is none of the document's, but PDFium's."""
    along: bool = True
    """`loose` is along its line: the line is level, or it is upright, and `loose` is turned by 90°."""

    def gap_after(self, before: "_Letter") -> float:
        """The gap between it and the letter before, as a share of the font size; negative if they overlap."""
        forwards, backwards = self.loose[0] - before.loose[2], before.loose[0] - self.loose[2]
        size = max(0.1, self.loose[3] - self.loose[1], before.loose[3] - before.loose[1])
        return max(forwards, backwards) / size


def _lines(page: pypdfium2.PdfPage) -> Iterator[list[_Letter]]:
    """Yield the letters of each line. An empty line ends a paragraph."""
    opened = page.get_textpage()
    textpage = opened.raw
    objects = _Objects(textpage)
    letters: list[_Letter] = []
    space, guessed, high = False, True, 0
    for index in range(opened.count_chars()):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if 0xDC00 <= code < 0xE000 and high:  # a letter beyond 16 bits comes in two halves
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
        high = 0
        divided = code in LINE_END_HYPHEN
        character = "-" if divided else chr(code) if code else "\ufffd"
        if character == "\n":
            yield letters
            letters, space, guessed = [], False, True
        elif character.isspace():
            space = True
            guessed = guessed and pdfium.FPDFText_IsGenerated(textpage, index) == 1
        else:
            letters.append(objects.letter(index, character, space, space and guessed))
            space, guessed = False, True
        if divided:
            yield letters
            letters = []
    yield letters


class _Objects:
    """The letters of a page, and what draws them. PDFium answers thousands of questions, always in one place."""

    def __init__(self, textpage: pdfium.FPDF_TEXTPAGE) -> None:
        self._textpage = textpage
        self._known: dict[int | None, tuple[TextObject | None, float]] = {}
        self._edges = [ctypes.c_double() for _ in range(4)]
        self._rectangle = pdfium.FS_RECTF()
        self._to_edges = [ctypes.pointer(edge) for edge in self._edges]
        self._to_rectangle = ctypes.pointer(self._rectangle)

    def letter(self, index: int, character: str, space: bool, guessed: bool) -> _Letter:
        """Return the letter of that index."""
        left, right, bottom, top = self._edges
        pdfium.FPDFText_GetCharBox(self._textpage, index, *self._to_edges)
        rectangle = self._rectangle
        pdfium.FPDFText_GetLooseCharBox(self._textpage, index, self._to_rectangle)
        handle = pdfium.FPDFText_GetTextObject(self._textpage, index)
        address = ctypes.c_void_p.from_buffer(handle).value
        if address not in self._known:
            angle = pdfium.FPDFText_GetCharAngle(self._textpage, index)
            self._known[address] = _text_object(handle) if address else None, angle
        item, angle = self._known[address]
        tight = (left.value, bottom.value, right.value, top.value)
        loose = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
        end, upright = right.value, abs(math.cos(angle)) < LEVEL
        if upright:
            loose = (rectangle.bottom, rectangle.left, rectangle.top, rectangle.right)
            end = top.value
        if loose[2] <= loose[0]:  # some fonts do not say how wide a letter is
            loose = (loose[0], loose[1], end, loose[3])
        return _Letter(character, tight, loose, item, space, guessed, upright or abs(math.sin(angle)) < LEVEL)


def _text_object(handle: pdfium.FPDF_PAGEOBJECT) -> TextObject:
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    coloured = pdfium.FPDFPageObj_GetFillColor(handle, red, green, blue, alpha)
    transparent = bool(coloured) and alpha.value == 0
    return TextObject(handle, pdfium.FPDFTextObj_GetTextRenderMode(handle) not in INVISIBLE and not transparent)


def _split(letters: list[_Letter]) -> Iterator[list[_Letter]]:
    """Split a line into words."""
    if not letters:
        return
    usual = _usual_gap(letters)
    word = [letters[0]]
    for before, letter in pairwise(letters):
        if _are_parted(before, letter, usual):
            yield word
            word = []
        word.append(letter)
    yield word


def _are_parted(before: _Letter, letter: _Letter, usual: float) -> bool:
    """Whether a word ends between the letters. PDFium's spaces alone count on lines that are aslant."""
    if not letter.along:
        return letter.space
    gap = letter.gap_after(before)
    if letter.space and not letter.guessed:
        return gap > SURE_GAP
    return gap - usual > (SURE_GAP if letter.space else WORD_GAP)


def _usual_gap(letters: list[_Letter]) -> float:
    """The gap between letters of a word on this line, as a share of the font size: more if it is set widely."""
    within = [(before, after) for before, after in pairwise(letters) if after.guessed or not after.space]
    if len(within) < GAPS_OF_A_LINE:
        return 0.0
    usual = median(after.gap_after(before) for before, after in within)
    has_spaces = any(letter.space and not letter.guessed for letter in letters)
    return max(0.0, usual) if usual <= (WIDEST_BESIDE_SPACES if has_spaces else WIDEST_USUAL_GAP) else 0.0


def _word(letters: list[_Letter], to_share: "_Place") -> OwnWord:
    lefts, bottoms, rights, tops = zip(*(letter.tight for letter in letters), strict=True)
    xs, ys = zip(to_share(min(lefts), min(bottoms)), to_share(max(rights), max(tops)), strict=True)
    objects = {id(letter.object): letter.object for letter in letters if letter.object}
    text = "".join(letter.text for letter in letters if _is_character(letter.text))
    unreadable = sum(not _is_readable(letter.text) for letter in letters)
    return OwnWord(text, (min(xs), min(ys), max(xs), max(ys)), list(objects.values()), unreadable)


@dataclass(frozen=True, slots=True)
class _Place:
    """Maps a point of the PDF's own space to shares of the page as it is shown."""

    origin: tuple[float, float]
    right: tuple[float, float]
    up: tuple[float, float]

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.origin[0] + x * self.right[0] + y * self.up[0],
            self.origin[1] + x * self.right[1] + y * self.up[1],
        )


def _to_share(page: pypdfium2.PdfPage) -> _Place:
    step = 1000.0
    origin, right, up = (_on_page(page, x, y) for x, y in ((0, 0), (step, 0), (0, step)))
    return _Place(
        origin,
        ((right[0] - origin[0]) / step, (right[1] - origin[1]) / step),
        ((up[0] - origin[0]) / step, (up[1] - origin[1]) / step),
    )


def _on_page(page: pypdfium2.PdfPage, x: float, y: float) -> tuple[float, float]:
    across, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(page, 0, 0, _PRECISION, _PRECISION, 0, x, y, across, down)
    return across.value / _PRECISION, down.value / _PRECISION

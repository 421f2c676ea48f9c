"""Joins the text that a page has of its own and the words that were read from its picture."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from libs.common.contracts.ocr import Block, Box, Line, Word
from services.ocr.tesseract import bounding_box

SAME_PLACE = 0.5
"""Share of the smaller of two boxes that lies in the other, from which they are in the same place."""


def merge(own: Sequence[Block], read: Sequence[Block]) -> list[Block]:
    """Put the recognised blocks among the page's own, from top to bottom, without words that are there already."""
    merged = list(own)
    for block in without_known(own, read):
        after = [number for number, other in enumerate(merged) if other.box[1] > block.box[1]]
        merged.insert(after[0] if after else len(merged), block)
    return merged


def without_known(own: Sequence[Block], read: Sequence[Block]) -> list[Block]:
    """Return the recognised blocks without the words that the page's own text has at the same place."""
    known: dict[str, list[Box]] = {}
    for word in (word for block in own for line in block.lines for word in line.words):
        known.setdefault(_letters(word.text), []).append(word.box)
    return _without_words(read, known)


def text_of(blocks: Sequence[Block]) -> str:
    """Return the text: a line break after each line, and an empty line between blocks."""
    lines = (
        "".join(" ".join(word.text for word in line.words) + "\n" for line in block.lines) for block in blocks
    )
    return "\n".join(lines)


def share_found(own: Sequence[Block], read: Sequence[Block]) -> float:
    """Return the share of the page's own words that were read too, without regard to order and case."""
    words = _bag(own)
    return (words & _bag(read)).total() / max(1, words.total())


def _bag(blocks: Sequence[Block]) -> Counter[str]:
    text = text_of(blocks).lower()
    return Counter(re.findall(r"\w+", text))


def _without_words(blocks: Sequence[Block], known: Mapping[str, Sequence[Box]]) -> list[Block]:
    """Return the blocks without words that are known at the same place. `known`: places by letters."""
    rest = []
    for block in blocks:
        lines = []
        for line in block.lines:
            words = [word for word in line.words if not _is_known(word, known)]
            if words:
                lines.append(Line(box=bounding_box([word.box for word in words]), words=words))
        if lines:
            rest.append(Block(box=bounding_box([line.box for line in lines]), lines=lines))
    return rest


def _is_known(word: Word, known: Mapping[str, Sequence[Box]]) -> bool:
    return any(_overlap(word.box, box) >= SAME_PLACE for box in known.get(_letters(word.text), ()))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _overlap(one: Box, other: Box) -> float:
    """Return the share of the smaller box that lies in the other."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / max(1, min(areas))

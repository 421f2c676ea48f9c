"""Writes the words of a document, recognised or from a text layer, as hOCR, ALTO and TSV.

hOCR 1.2: https://kba.github.io/hocr-spec/1.2/ · ALTO 4: https://www.loc.gov/standards/alto/ · TSV: the columns of
`tesseract … tsv`. Each format is generated page by page, so memory does not grow with the number of pages.
"""

from collections.abc import Callable, Iterable, Iterator
from html import escape

from libs.common.contracts.ocr import Box, Line, Page, Word

HOCR_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head><title></title><meta name="ocr-system" content="argosy"/>
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrx_word"/></head>
<body>
"""
HOCR_TAIL = "</body>\n</html>\n"
ALTO_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">
<Description><MeasurementUnit>pixel</MeasurementUnit></Description>
<Layout>
"""
ALTO_TAIL = "</Layout>\n</alto>\n"
Format = Callable[[Iterable[Page]], Iterator[str]]
TSV_HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"


def hocr(pages: Iterable[Page]) -> Iterator[str]:
    """Yield an hOCR document in chunks."""
    yield HOCR_HEAD
    for page in pages:
        n = page.number
        title = f"bbox 0 0 {page.width} {page.height}; ppageno {n - 1}"
        yield f'<div class="ocr_page" id="page_{n}" title="{title}">\n'
        for b, block in enumerate(page.blocks, 1):
            yield f'<div class="ocr_carea" id="block_{n}_{b}" title="{_bbox(block.box)}">\n'
            for i, line in enumerate(block.lines, 1):
                words = " ".join(_hocr_word(word) for word in line.words)
                yield f'<span class="ocr_line" id="line_{n}_{b}_{i}" title="{_bbox(line.box)}">{words}</span>\n'
            yield "</div>\n"
        yield "</div>\n"
    yield HOCR_TAIL


def alto(pages: Iterable[Page]) -> Iterator[str]:
    """Yield an ALTO document in chunks."""
    yield ALTO_HEAD
    for page in pages:
        n = page.number
        size = f'WIDTH="{page.width}" HEIGHT="{page.height}"'
        yield f'<Page ID="page_{n}" PHYSICAL_IMG_NR="{n}" {size}><PrintSpace HPOS="0" VPOS="0" {size}>\n'
        for b, block in enumerate(page.blocks, 1):
            yield f'<TextBlock ID="block_{n}_{b}" {_hpos(block.box)}>\n'
            for i, line in enumerate(block.lines, 1):
                words = "<SP/>".join(_alto_word(word) for word in line.words)
                yield f'<TextLine ID="line_{n}_{b}_{i}" {_hpos(line.box)}>{words}</TextLine>\n'
            yield "</TextBlock>\n"
        yield "</PrintSpace></Page>\n"
    yield ALTO_TAIL


def tsv(pages: Iterable[Page]) -> Iterator[str]:
    """Yield a table of pages (level 1), blocks (2), lines (4) and words (5) in chunks."""
    yield TSV_HEAD
    for page in pages:
        n = page.number
        yield _row(1, (n, 0, 0, 0, 0), (0, 0, page.width, page.height), -1, "")
        for b, block in enumerate(page.blocks, 1):
            yield _row(2, (n, b, 0, 0, 0), block.box, -1, "")
            for i, line in enumerate(block.lines, 1):
                yield from _line_rows(n, b, i, line)


def _line_rows(n: int, b: int, i: int, line: Line) -> Iterator[str]:
    yield _row(4, (n, b, 1, i, 0), line.box, -1, "")
    for w, word in enumerate(line.words, 1):
        yield _row(5, (n, b, 1, i, w), word.box, word.confidence, " ".join(word.text.split()))


def _row(level: int, numbers: tuple[int, ...], box: Box, confidence: float, text: str) -> str:
    left, top, right, bottom = box
    position = (left, top, right - left, bottom - top)
    return "\t".join(map(str, (level, *numbers, *position, confidence, text))) + "\n"


def _hocr_word(word: Word) -> str:
    title = f"{_bbox(word.box)}; x_wconf {round(word.confidence)}"
    return f'<span class="ocrx_word" title="{title}">{_xml(word.text)}</span>'


def _alto_word(word: Word) -> str:
    return f'<String {_hpos(word.box)} WC="{word.confidence / 100:.3f}" CONTENT="{_xml(word.text)}"/>'


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(map(str, box))


def _hpos(box: Box) -> str:
    left, top, right, bottom = box
    return f'HPOS="{left}" VPOS="{top}" WIDTH="{right - left}" HEIGHT="{bottom - top}"'


def _xml(text: str) -> str:
    """Escape the text, and remove what XML 1.0 does not allow: control characters and surrogates."""
    return escape(
        "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )

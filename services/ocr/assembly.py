"""Joins the parts of the pages into the document's artifacts. Runs in the sandbox.

It works page by page, so memory does not grow with the number of pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import img2pdf
import pikepdf

from libs.common.contracts.ocr import Page
from services.ocr import output_formats
from services.ocr.documents import PDF, count_frames, flattened_frames, resolution_of
from services.ocr.page_reading import ASSUMED_DPI, PageFiles
from services.ocr.refusals import UnreadableDocument
from services.ocr.searchable_pdf import write_searchable

PREVIEW_CHARACTERS = 500
LONGEST_PAGE_IN = 200
"""The longest edge of a PDF page, in inches (ISO 32000-1, annex C)."""
SHORTEST_PAGE_PT = 3
"""The shortest edge of one, in points (same place)."""
TEXT, WORDS, SEARCHABLE = "text.txt", "words.json", "document.pdf"
FORMATS = {
    "document.hocr": output_formats.hocr,
    "document.alto.xml": output_formats.alto,
    "words.tsv": output_formats.tsv,
}
MEDIA_TYPES = {
    TEXT: "text/plain; charset=utf-8",
    WORDS: "application/json",
    SEARCHABLE: PDF,
    "document.hocr": "text/vnd.hocr+html",
    "document.alto.xml": "application/alto+xml",
    "words.tsv": "text/tab-separated-values; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Assembled:
    """The start of the text, and codes of warnings about the document."""

    preview: str
    warnings: tuple[str, ...]


def assemble(source: Path, media_type: str, folder: Path, numbers: Sequence[int]) -> Assembled:
    """Write the artifacts (MEDIA_TYPES) of the pages `numbers` into `folder`."""
    pages = [PageFiles(folder, number) for number in numbers]
    _join_texts(pages, folder / TEXT)
    _join_words(pages, folder / WORDS)
    for name, format_ in FORMATS.items():
        with (folder / name).open("w") as file:
            file.writelines(format_(_load_pages(pages)))
    original = source
    if media_type != PDF:
        original = folder / "images.pdf"
        _images_to_pdf(source, folder, original)
    warnings = write_searchable(original, pages, folder / SEARCHABLE)
    with (folder / TEXT).open() as file:
        return Assembled(file.read(PREVIEW_CHARACTERS).strip(), tuple(warnings))


def _load_pages(pages: Sequence[PageFiles]) -> Iterator[Page]:
    for page in pages:
        yield Page.model_validate_json(page.path(".json").read_bytes())


def _join_texts(pages: Sequence[PageFiles], path: Path) -> None:
    """Join the texts. A form feed ends each page, as in Tesseract's output."""
    with path.open("w") as file:
        for page in pages:
            file.write(page.path(".txt").read_text().rstrip("\n") + "\n\f")


def _join_words(pages: Sequence[PageFiles], path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"pages":[')
        for position, page in enumerate(pages):
            file.write(b"," if position else b"")
            file.write(page.path(".json").read_bytes())
        file.write(b"]}")


def _images_to_pdf(source: Path, folder: Path, path: Path) -> None:
    """Convert the image file to a PDF. Images are embedded without re-encoding if PDF supports their encoding."""
    dpi = resolution_of(source) or ASSUMED_DPI

    def layout(width_px: int, height_px: int, _dpi: tuple[int, int]) -> tuple[float, float, float, float]:
        fitting_dpi = max(dpi, ceil(max(width_px, height_px) / LONGEST_PAGE_IN))
        size = (width_px * 72 / fitting_dpi, height_px * 72 / fitting_dpi)
        page_width, page_height = (max(edge, SHORTEST_PAGE_PT) for edge in size)
        return (page_width, page_height, *size)

    with path.open("wb") as file:
        try:
            img2pdf.convert(source, layout_fun=layout, rotation=img2pdf.Rotation.ifvalid, outputstream=file)
            file.flush()
            with pikepdf.open(path) as result:
                if len(result.pages) != count_frames(source):  # img2pdf sees one frame of an animated PNG
                    raise UnreadableDocument
        except Exception:  # img2pdf refuses transparency, 16 bits, WebP modes and others; those are re-encoded
            file.seek(0)
            file.truncate()
            frames = [str(frame) for frame in flattened_frames(source, folder)]
            img2pdf.convert(frames, layout_fun=layout, outputstream=file)

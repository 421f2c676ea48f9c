"""Joins the parts of the pages into the document's artifacts. Runs in the sandbox.

It works page by page, so memory does not grow with the number of pages. The PDF is opened again and drawn before
it counts as written. If it does not show what was read, it is made once more in another way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from libs.common.contracts.ocr import Page
from services.ocr import comparison, output_formats
from services.ocr.documents import PDF, open_structure
from services.ocr.page_reading import PageFiles
from services.ocr.picture_pdf import write_pdf
from services.ocr.searchable_pdf import write_searchable

PREVIEW_CHARACTERS = 500
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
    """The start of the text, codes of warnings about the document, and pages that it shows otherwise than read."""

    preview: str
    warnings: tuple[str, ...]
    differing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Original:
    """What document.pdf is made of, and whether turned pages are to be upright there."""

    path: Path
    media_type: str
    rotate: bool
    password: str | None = field(repr=False)


def assemble(
    source: Path,
    media_type: str,
    folder: Path,
    numbers: Sequence[int],
    *,
    rotate: bool = False,
    password: str | None = None,
) -> Assembled:
    """Write the artifacts (MEDIA_TYPES) of the pages `numbers` into `folder`. Raises a Reject.

    `rotate`: pages that were recognised as turned are upright in document.pdf. An encrypted PDF is opened with
    `password`, and so is the one that is written.
    """
    pages = [PageFiles(folder, number) for number in numbers]
    _join_texts(pages, folder / TEXT)
    _join_words(pages, folder / WORDS)
    for name, format_ in FORMATS.items():
        with (folder / name).open("w") as file:
            file.writelines(format_(_load_pages(pages)))
    original = _Original(source, media_type, rotate, password)
    warnings, differing = _write_searchable(original, folder, pages)
    with (folder / TEXT).open() as file:
        return Assembled(file.read(PREVIEW_CHARACTERS).strip(), tuple(warnings), tuple(differing))


def _write_searchable(
    original: _Original, folder: Path, pages: Sequence[PageFiles]
) -> tuple[list[str], list[int]]:
    """Write the searchable PDF, another way if pages look otherwise. Returns warnings, and pages that still do."""
    numbers = [page.number for page in pages]
    result, other = folder / SEARCHABLE, folder / "other.pdf"
    compared_with = (original.path, original.media_type, numbers, original.password)
    warnings = _write(original, folder, pages, result)
    differing = comparison.differing_pages(result, *compared_with)
    if differing:
        also = _write(original, folder, pages, other, differing)
        still = comparison.differing_pages(other, *compared_with)
        if len(still) < len(differing):
            other.replace(result)
            return also, still
    return warnings, differing


def _write(
    original: _Original, folder: Path, pages: Sequence[PageFiles], path: Path, anew: Sequence[int] = ()
) -> list[str]:
    """Write the searchable PDF. `anew`: pages for which the usual way does not do. Returns codes of warnings."""
    if original.media_type == PDF:
        opened = open_structure(original.path, original.password, rewritten=bool(anew))
    else:
        pictures = folder / "pictures.pdf"
        write_pdf(original.path, folder, pictures, anew={number - 1 for number in anew})
        opened = open_structure(pictures)
    with opened as document:
        return write_searchable(document, pages, path, rotate=original.rotate)


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

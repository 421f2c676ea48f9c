"""The pages' parts joined into the document's artifacts. Runs in the sandbox; memory does not grow with pages."""

from collections.abc import Sequence
from pathlib import Path

import pikepdf

from services.ocr.documents import PDF
from services.ocr.pages import PageFiles
from services.ocr.refusals import UnreadableDocument

PREVIEW_CHARACTERS = 500
TEXT, WORDS, SEARCHABLE = "text.txt", "words.json", "document.pdf"
MEDIA_TYPES = {TEXT: "text/plain; charset=utf-8", WORDS: "application/json", SEARCHABLE: PDF}


def assemble(source: Path, media_type: str, folder: Path, numbers: Sequence[int], total: int) -> str:
    """Write `text.txt`, `words.json` and `document.pdf` of the pages `numbers` into `folder`.

    `total` is how many pages the source has. The beginning of the text is returned as a preview.
    """
    pages = [PageFiles(folder, number) for number in numbers]
    _join_texts(pages, folder / TEXT)
    _join_words(pages, folder / WORDS)
    if media_type == PDF:
        _overlay(source, pages, total, folder / SEARCHABLE)
    else:
        _concatenate(pages, folder / SEARCHABLE)
    with (folder / TEXT).open() as file:
        return file.read(PREVIEW_CHARACTERS).strip()


def _join_texts(pages: Sequence[PageFiles], path: Path) -> None:
    """A form feed ends each page, as Tesseract has it."""
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


def _overlay(source: Path, pages: Sequence[PageFiles], total: int, path: Path) -> None:
    """The source itself, with invisible text over the pages that had none. Images are not touched."""
    try:
        with pikepdf.open(source) as document:
            for page in pages:
                if page.path(".pdf").exists():
                    with pikepdf.open(page.path(".pdf")) as layer:
                        target = document.pages[page.number - 1]
                        target.add_overlay(layer.pages[0], pikepdf.Rectangle(target.cropbox))
            wanted = {page.number for page in pages}
            for number in range(total, 0, -1):
                if number not in wanted:
                    del document.pages[number - 1]
            document.save(path)
    except pikepdf.PdfError as error:
        raise UnreadableDocument(f"The PDF cannot be rewritten: {error}") from error


def _concatenate(pages: Sequence[PageFiles], path: Path) -> None:
    with pikepdf.new() as document:
        for page in pages:
            with pikepdf.open(page.path(".pdf")) as part:
                document.pages.extend(part.pages)
        document.save(path)

"""python -m benchmarks.ocr_truths FOLDER: how much of documents with known text is read, and is where it is seen.

Every NAME.truth.txt in the folder is the text of the document NAME.*, as a reader sees it. The documents are read
by the worker's own code in this process, without fleet, sandbox and cache. For each is printed: the word F1 of
text.txt and of the text in document.pdf, the words of words.json that document.pdf has nowhere near, how large
document.pdf is beside its source, and the CPU seconds.

Misplaced is a word whose middle is more than 3 % of the page from every equal word of document.pdf.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypdfium2

from benchmarks.ocr import score
from libs.common.contracts.ocr import OcrOptions
from libs.common.errors import ArgosyError
from services.gateway.endpoints.uploads import media_type_of
from services.ocr.assembly import assemble
from services.ocr.documents import count_pages
from services.ocr.handler import wanted_pages
from services.ocr.page_reading import PageFiles, Task, prepare_page, recognise_page
from services.ocr.tesseract import installed_engine
from tests.integration.services.ocr.word_places import words_of_pdf

TRUTH = ".truth.txt"
PAGES_AT_MOST, PIXELS_AT_MOST, EXTRA_PASSES_S = 100, 50_000_000, 48.0
NEAR = 0.03
"""Share of the page's width or height."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was made of a document: the F1 of both texts, misplaced words, ratio of sizes, and what went wrong."""

    f1: float = 0.0
    f1_pdf: float = 0.0
    misplaced: int = 0
    size_ratio: float = 0.0
    failure: str = ""


def measure(source: Path, truth: str, options: OcrOptions) -> Found:
    """Read a document, and compare it with its truth."""
    media_type = media_type_of(source.read_bytes())
    if media_type is None:
        return Found(failure="unsupported media type")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            _read(source, media_type, options, folder)
        except ArgosyError as error:
            return Found(failure=f"{error.code}: {error}")
        except Exception as error:  # the fleet calls it page_crashed
            return Found(failure=f"page_crashed: {type(error).__name__}: {error}")
        text = (folder / "text.txt").read_text()
        pages = json.loads((folder / "words.json").read_text())["pages"]
        try:
            document = pypdfium2.PdfDocument(folder / "document.pdf")
        except pypdfium2.PdfiumError as error:
            return Found(score(text, truth)[0], failure=f"document.pdf cannot be opened: {error}")
        seen = " ".join(page.get_textpage().get_text_range().replace("\ufffe", "") for page in document)
        misplaced = sum(_misplaced(page, read) for page, read in zip(document, pages, strict=True))
        ratio = (folder / "document.pdf").stat().st_size / source.stat().st_size
        return Found(score(text, truth)[0], score(seen, truth)[0], misplaced, ratio)


def _read(source: Path, media_type: str, options: OcrOptions, folder: Path) -> None:
    engine = installed_engine("tesseract")
    languages = "+".join(options.languages or ("eng",))
    task = Task(source, media_type, options, engine, languages, PIXELS_AT_MOST, EXTRA_PASSES_S)
    numbers = wanted_pages(options.pages, count_pages(source, media_type, PAGES_AT_MOST))
    for number in numbers:
        files = PageFiles(folder, number)
        prepared = prepare_page(task, files, task.dpi)
        if prepared.summary is None:
            recognise_page(task, prepared, files)
    assemble(source, media_type, folder, numbers)


def _misplaced(page: pypdfium2.PdfPage, read: dict[str, Any]) -> int:
    """Count the words of words.json that are not near an equal word of the PDF page."""
    places: dict[str, list[tuple[float, float]]] = {}
    for text, (left, top, right, bottom) in words_of_pdf(page):
        places.setdefault(_letters(text), []).append(((left + right) / 2, (top + bottom) / 2))
    count = 0
    for word in (word for block in read["blocks"] for line in block["lines"] for word in line["words"]):
        left, top, right, bottom = word["box"]
        x, y = (left + right) / 2 / read["width"], (top + bottom) / 2 / read["height"]
        near = (abs(x - u) < NEAR and abs(y - v) < NEAR for u, v in places.get(_letters(word["text"]), ()))
        count += not any(near)
    return count


def _letters(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum() and letter <= "\uffff")


def main(folder: Path, only: str, options: OcrOptions) -> None:
    """Print one line per document, then the means."""
    print(f"{'document':32} {'F1':>5} {'F1 pdf':>6} {'misplaced':>9} {'size':>6} {'CPU s':>6}")
    rows = []
    for truth in sorted(folder.glob(f"{only}{TRUTH}")):
        stem = truth.name.removesuffix(TRUTH)
        for source in (path for path in sorted(folder.glob(f"{stem}.*")) if path != truth):
            begun = _cpu_seconds()
            found = measure(source, truth.read_text(), options)
            rows.append(found)
            figures = f"{found.f1:5.2f} {found.f1_pdf:6.2f} {found.misplaced:9} {found.size_ratio:6.2f}"
            print(f"{source.name:32} {figures} {_cpu_seconds() - begun:6.2f} {found.failure}", flush=True)
    f1, f1_pdf = (statistics.mean(getattr(row, name) for row in rows) for name in ("f1", "f1_pdf"))
    print(f"{len(rows)} documents: mean word F1 {f1:.3f}, in document.pdf {f1_pdf:.3f}")


def _cpu_seconds() -> float:
    """CPU seconds of this process and its children, which has the OCR engine's too."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="a pattern of names without suffix")
    parser.add_argument("--options", default="{}", help="the options of the jobs, as JSON")
    arguments = parser.parse_args()
    os.environ["OMP_THREAD_LIMIT"] = "1"
    main(arguments.folder, arguments.only, OcrOptions.model_validate_json(arguments.options))

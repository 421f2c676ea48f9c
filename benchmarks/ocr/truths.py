"""Documents with known text: how much of it is read, and is where it is seen. OCRmyPDF reads the same ones.

    python -m benchmarks.ocr.truths FOLDER [--only 'fax-*'] [--options '{"text":"replace"}'] [--pictures FOLDER]

Every NAME.truth.txt in the folder is the text of the document NAME.*, as a reader sees it. The documents are read
by the worker's own code in a process each, without fleet, sandbox and cache. For each is printed: the word F1 of
the text and of the text in document.pdf, misplaced words, how large document.pdf is beside its source, CPU
seconds, and the most memory that the process or an engine that it started had.

OCRmyPDF's line is that of its best mode of --skip-text, --redo-ocr and --force-ocr, by the F1 of the text. Its
text is its sidecar or the text of its PDF, whichever is better: the sidecar lacks the pages that it skips.

Misplaced is a word of our words.json whose middle is more than 3 % of the page from every equal word of the PDF;
also a word that is not there at all.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pypdfium2

from benchmarks.ocr.fleet import ROOT
from benchmarks.ocr.peers import MODES, Refused, ocrmypdf, ocrmypdf_program
from benchmarks.ocr.scoring import timed, word_f1
from benchmarks.ocr.word_boxes import draw_boxes
from libs.common.contracts.ocr import OcrOptions
from libs.common.errors import ArgosyError
from services.gateway.endpoints.uploads import media_type_of
from services.ocr.assembly import assemble
from services.ocr.documents import count_pages
from services.ocr.handler import wanted_pages
from services.ocr.page_reading import PageFiles, Task, prepare_page, recognise_page
from services.ocr.tesseract import installed_engine
from tests.integration.services.ocr.word_places import words_of_pdf

DOCUMENTS = ROOT.parent / "shared" / "data" / "findings" / "ocr"
TRUTH = ".truth.txt"
PAGES_AT_MOST, PIXELS_AT_MOST, EXTRA_PASSES_S = 100, 50_000_000, 48.0
NEAR = 0.03
"""Share of the page's width or height."""
SIZES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What was made of a document. `size_ratio`: bytes of the PDF beside its source; `peak`: in bytes."""

    f1: float = 0.0
    f1_pdf: float = 0.0
    misplaced: int = 0
    size_ratio: float = 0.0
    sizes: str = ""
    """Of the pages, in points."""
    cpu: float = 0.0
    peak: int = 0
    remark: str = ""

    def line(self) -> str:
        figures = f"{self.f1:5.2f} {self.f1_pdf:6.2f} {self.misplaced:9} {self.size_ratio:6.2f} {self.cpu:6.2f}"
        return f"{figures} {self.peak / 1e6:5.0f} {self.sizes:26} {self.remark}"


def compare(folder: Path, only: str, options: OcrOptions, pictures: Path | None = None) -> None:
    """Print the lines of each document, ours first, then the means."""
    truths = sorted(folder.glob(f"{only}{TRUTH}"))
    if not truths:
        print(f"no documents with known text in {folder}: they are left out")
        return
    os.environ["OMP_THREAD_LIMIT"] = "1"
    print(f"{'':44} {'F1':>5} {'F1 pdf':>6} {'misplaced':>9} {'size':>6} {'CPU s':>6} {'MB':>5} pages in points")
    rows: dict[str, list[Found]] = {}
    for truth in truths:
        stem = truth.name.removesuffix(TRUTH)
        for source in (path for path in sorted(folder.glob(f"{stem}.*")) if path != truth):
            with tempfile.TemporaryDirectory() as name:
                for who, found in _compare(source, truth.read_text(), options, Path(name), pictures).items():
                    print(f"{source.name:33} {who:10} {found.line()}", flush=True)
                    rows.setdefault(who, []).append(found)
    for who, all_found in rows.items():
        f1, f1_pdf = (statistics.mean(getattr(found, field) for found in all_found) for field in ("f1", "f1_pdf"))
        misplaced, cpu = sum(found.misplaced for found in all_found), sum(found.cpu for found in all_found)
        peak = max(found.peak for found in all_found) / 1e6
        print(f"{who}: {len(all_found)} documents, mean word F1 {f1:.3f}, in the PDF {f1_pdf:.3f}, "
              f"{misplaced} words misplaced, {cpu:.1f} CPU s, {peak:.0f} MB at most")  # fmt: skip


def _compare(
    source: Path, truth: str, options: OcrOptions, folder: Path, pictures: Path | None
) -> dict[str, Found]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as process:
        found = {"ours": process.submit(measure, source, truth, options, folder).result()}
    words = folder / "words.json"
    pages = json.loads(words.read_text())["pages"] if words.exists() else []
    if pictures is not None and pages:
        draw_boxes(folder / "document.pdf", pages, pictures / source.stem)
    if program := ocrmypdf_program():
        found["ocrmypdf"] = _best_mode(program, source, truth, pages, folder)
    return found


def measure(source: Path, truth: str, options: OcrOptions, folder: Path) -> Found:
    """Read a document into `folder`, and compare it with its truth."""
    media_type = media_type_of(source.read_bytes())
    if media_type is None:
        return Found(remark="unsupported media type")
    begun = _cpu_seconds()
    try:
        read(source, media_type, options, folder)
    except ArgosyError as error:
        return Found(remark=f"{error.code}: {error}")
    except Exception as error:  # the fleet calls it page_crashed
        return Found(remark=f"page_crashed: {type(error).__name__}: {error}")
    cpu, pages = _cpu_seconds() - begun, json.loads((folder / "words.json").read_text())["pages"]
    found = _of_pdf(folder / "document.pdf", source, truth, pages)
    return replace(found, f1=word_f1((folder / "text.txt").read_text(), truth), cpu=cpu, peak=_peak())


def read(source: Path, media_type: str, options: OcrOptions, folder: Path) -> None:
    """Write the artifacts of a document into `folder`, as the worker does. Raises a Reject."""
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


def _best_mode(program: Path, source: Path, truth: str, pages: Sequence[dict[str, Any]], folder: Path) -> Found:
    best = Found()
    for mode in MODES if source.suffix == ".pdf" else MODES[:1]:  # a picture has no text
        result, sidecar = folder / f"theirs{mode}.pdf", folder / f"theirs{mode}.txt"
        try:
            took = timed(partial(ocrmypdf, program, source, result, sidecar, mode))
        except Refused as reason:
            best = replace(best, remark=best.remark or str(reason)[:60])
            continue
        found = _of_pdf(result, source, truth, pages)
        f1 = max(word_f1(sidecar.read_text(), truth), found.f1_pdf)
        found = replace(found, f1=f1, cpu=took.cpu, remark=mode)
        best = max(best, found, key=lambda one: (one.f1, one.f1_pdf, -one.misplaced))
    return best


def _of_pdf(result: Path, source: Path, truth: str, pages: Sequence[dict[str, Any]]) -> Found:
    try:
        document = pypdfium2.PdfDocument(result)
    except pypdfium2.PdfiumError as error:
        return Found(remark=f"{result.name} cannot be opened: {error}")
    seen = " ".join(page.get_textpage().get_text_range().replace("\ufffe", "") for page in document)
    edges = ["{:.0f}x{:.0f}".format(*page.get_size()) for page in document]
    sizes = " ".join(edges[:SIZES_SHOWN])
    misplaced = sum(_misplaced(page, read) for page, read in zip(document, pages, strict=False))
    ratio = result.stat().st_size / source.stat().st_size
    return Found(f1_pdf=word_f1(seen, truth), misplaced=misplaced, size_ratio=ratio, sizes=sizes)


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


def _cpu_seconds() -> float:
    """CPU seconds of this process and its children, which has the OCR engine's too."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def _peak() -> int:
    """The most memory in bytes that this process or one that it waited for has had."""
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(used) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="a pattern of names without suffix")
    parser.add_argument("--options", default="{}", help="the options of the jobs, as JSON")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the pages with boxes around words")
    arguments = parser.parse_args()
    wanted = OcrOptions.model_validate_json(arguments.options)
    compare(arguments.folder, arguments.only, wanted, arguments.pictures)

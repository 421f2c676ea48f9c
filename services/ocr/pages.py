"""One page, in two steps: its picture, or the text it has; then its words. Both run in the sandbox.

Between the two the handler can see whether this very picture was read before (page_cache.py).
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import ImageDraw

from libs.common.contracts.ocr import Block, OcrOptions, Page, Source
from services.ocr import text_layer
from services.ocr.documents import PDF, POINTS_PER_INCH, Picture, draw_pdf_page, open_pdf, prepare_image
from services.ocr.recognition import Reader, Reading
from services.ocr.refusals import EngineFailed
from services.ocr.tesseract import Engine

ASSUMED_DPI = 300
"""Of an image that does not state its resolution."""
FIRST_DPI, FULL_DPI = 200, 300
"""Dots per inch of a PDF page where none are asked for: enough for print of 8 points, and for smaller print.

Tesseract brings every line to 36 pixels anyway. Measured on a page of 11-point text: 1.53 s against 1.81 s, the
same words; on a scanned brochure F1 0.975 against 0.969."""
WORTH_ADDING = 70.0
"""Mean confidence from which the words on a page's pictures are added to its own text. A photograph gives less."""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """Where the parts of page `number` lie: `.txt`, `.json`, and `.pdf`, the layer of recognised text."""

    folder: Path
    number: int

    def path(self, suffix: str) -> Path:
        """`page-000007.json` and its like."""
        return self.folder / f"page-{self.number:06d}{suffix}"


@dataclass(frozen=True, slots=True)
class PageSummary:
    """A page in figures. `confidence` is the mean over its `recognised` words. `passes`: looks it took."""

    number: int
    source: Source
    words: int
    recognised: int
    confidence: float | None
    rotation: int = 0
    passes: int = 0
    read_before: bool = False

    def document(self) -> dict[str, Any]:
        """As a job's result."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """Which page of which document is to be read, and how."""

    source: Path
    media_type: str
    options: OcrOptions
    engine: Engine
    languages: str
    pixels_at_most: int
    more_looks_s: float
    """Seconds after which nothing more is tried, and the best so far is taken."""

    @property
    def dpi(self) -> int:
        """At which a PDF page is drawn first."""
        return self.options.dpi or FIRST_DPI


@dataclass(frozen=True, slots=True)
class Prepared:
    """A page ready to be recognised, unless `summary` says that it has been read already: it had text.

    `digest`: SHA-256 of the pixels, and of the text that the page has beside them.
    """

    source: Source
    dpi: int
    summary: PageSummary | None = None
    picture: Picture | None = None
    digest: bytes = b""


def prepare_page(task: Task, files: PageFiles, dpi: int) -> Prepared:
    """Take page `files.number` out of its document, a PDF's at `dpi`. Raises a Reject."""
    if task.media_type != PDF:
        picture = prepare_image(task.source, files.number - 1, task.pixels_at_most, files.path(".ppm"))
        return _pictured("ocr", picture, picture.dpi or ASSUMED_DPI)
    with open_pdf(task.source) as document:
        page = document[files.number - 1]
        text = text_layer.real_text(page)
        if text is None:
            drawn = draw_pdf_page(page, dpi, task.pixels_at_most, files.path(".ppm"))
            return _pictured("ocr", drawn, drawn.dpi or dpi)
        if text_layer.has_pictures(page):
            return _mixed(page, text, files, dpi, task.pixels_at_most)
        dpi = task.options.dpi or FULL_DPI
        scale = dpi / POINTS_PER_INCH
        width, height = (round(edge * scale) for edge in page.get_size())
        blocks = text_layer.text_blocks(page, scale)
        found = Page(number=files.number, width=width, height=height, dpi=dpi, source="text-layer",
                     confidence=None, blocks=blocks)  # fmt: skip
        return Prepared("text-layer", dpi, _leave(files, text, found, ()))


def _mixed(page: Any, text: str, files: PageFiles, dpi: int, pixels_at_most: int) -> Prepared:
    """Leave the text, and a picture of the page without it: what is read there is what only the pictures have."""
    drawn = draw_pdf_page(page, dpi, pixels_at_most, files.path(".ppm"))
    dpi = drawn.dpi or dpi
    blocks = text_layer.text_blocks(page, dpi / POINTS_PER_INCH)
    with drawn.open() as image:
        pen = ImageDraw.Draw(image)
        for line in (line for block in blocks for line in block.lines):
            pen.rectangle(line.box, fill="white")
        image.save(drawn.path)
    found = Page(number=files.number, width=drawn.width, height=drawn.height, dpi=dpi, source="mixed",
                 confidence=None, blocks=blocks)  # fmt: skip
    _leave(files, text, found, ())
    return _pictured("mixed", drawn, dpi, files.path(".json").read_bytes())


def recognise_page(task: Task, prepared: Prepared, files: PageFiles) -> PageSummary:
    """Read the prepared picture, small print once more. Leaves the parts in `files`. Raises EngineFailed."""
    until = time.monotonic() + task.more_looks_s
    reading = _read(task, prepared, files, until)
    passes = reading.passes
    may_be_larger = task.media_type == PDF and task.options.dpi is None and time.monotonic() < until
    if may_be_larger and reading.has_small_print:
        larger = PageFiles(files.folder / "larger", files.number)
        larger.folder.mkdir()
        with suppress(EngineFailed):  # what has been read stays
            again = prepare_page(task, larger, FULL_DPI)
            other = _read(task, again, larger, until)
            passes += other.passes
            if other.sureness > reading.sureness:
                prepared, reading = again, other
                for part in larger.folder.iterdir():
                    part.rename(files.folder / part.name)
    return _summed_up(prepared, reading, files, passes)


def renumber(files: PageFiles) -> None:
    """Parts that were another page's are now those of page `files.number`."""
    page = Page.model_validate_json(files.path(".json").read_bytes())
    files.path(".json").write_text(page.model_copy(update={"number": files.number}).model_dump_json())


def _read(task: Task, prepared: Prepared, files: PageFiles, until: float) -> Reading:
    picture = prepared.picture
    assert picture is not None  # noqa: S101 - there is nothing to do for a page that had text only
    reader = Reader(
        task.engine,
        picture.path,
        files.path(""),
        languages=task.languages,
        psm=task.options.psm,
        dpi=prepared.dpi,
        until=until,
    )
    reading = reader.read()
    reading.pdf.rename(files.path(".pdf"))
    files.path(".ppm").unlink(missing_ok=True)
    return reading


def _summed_up(prepared: Prepared, reading: Reading, files: PageFiles, passes: int) -> PageSummary:
    picture = prepared.picture
    assert picture is not None  # noqa: S101
    page = Page(number=files.number, width=picture.width, height=picture.height, dpi=prepared.dpi,
                source=prepared.source, confidence=_mean(reading.blocks), rotation=reading.turn.quarters,
                skew=reading.turn.skew, blocks=reading.blocks)  # fmt: skip
    if prepared.source == "ocr":
        return _leave(files, reading.text, page, reading.blocks, passes=passes)
    own = Page.model_validate_json(files.path(".json").read_bytes())
    own_text = files.path(".txt").read_text()
    if (page.confidence or 0.0) < WORTH_ADDING:
        files.path(".pdf").unlink()
        return _leave(files, own_text, own, (), passes=passes)
    both = page.model_copy(update={"blocks": [*own.blocks, *reading.blocks]})
    return _leave(files, f"{own_text.rstrip()}\n\n{reading.text}", both, reading.blocks, passes=passes)


def _pictured(source: Source, picture: Picture, dpi: int, beside: bytes = b"") -> Prepared:
    return Prepared(source, dpi, None, picture, _digest(picture.path, beside))


def _leave(
    files: PageFiles, text: str, page: Page, recognised: Sequence[Block], *, passes: int = 0
) -> PageSummary:
    files.path(".txt").write_text(text)
    files.path(".json").write_text(page.model_dump_json())
    words, seen = _count(page.blocks), _count(recognised)
    return PageSummary(page.number, page.source, words, seen, page.confidence, page.rotation, passes)


def _count(blocks: Sequence[Block]) -> int:
    return sum(len(line.words) for block in blocks for line in block.lines)


def _mean(blocks: Sequence[Block]) -> float | None:
    confidences = [word.confidence for block in blocks for line in block.lines for word in line.words]
    return round(sum(confidences) / len(confidences), 1) if confidences else None


def _digest(picture: Path, beside: bytes) -> bytes:
    digest = hashlib.sha256(beside)
    with picture.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()

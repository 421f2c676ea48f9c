"""Reads one page in two sandboxed steps: the first prepares its image or text, the second recognises words.

Between the steps the handler looks up whether the same image was read before (page_cache.py).
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image

from libs.common.contracts.ocr import Block, OcrOptions, Page, Source
from services.ocr.documents import PDF, POINTS_PER_INCH, open_pdf, rasterise_pdf_page
from services.ocr.looking import WORTH_A_LOOK, read_image
from services.ocr.merging import merge, share_found, text_of, without_known
from services.ocr.page_judgement import OwnText, judge
from services.ocr.pdf_page import open_page
from services.ocr.picture_pdf import ASSUMED_DPI
from services.ocr.pictures import PageImage, coloured_picture, prepare_image
from services.ocr.recognition import UNSURE_BELOW, Reader, Reading
from services.ocr.refusals import EngineFailed
from services.ocr.tesseract import Engine
from services.ocr.text_layer import to_blocks

FIRST_DPI, FULL_DPI = 200, 300
"""Resolution of a PDF page if the job asks for none: enough for 8-point print, and for smaller print.

Tesseract scales every line to 36 pixels anyway. Measured at 200 and 300 dpi: a page of 11-point text takes 1.53 s
and 1.81 s, with the same words; a scanned brochure has an F1 of 0.975 and 0.969."""
LARGER, LARGER_PIXELS_AT_MOST = 2, 9_000_000
"""By how much a small page is enlarged further while its print is small, and how large it becomes: A4 at 300 dpi.
Applications that make PDFs of photographs often state a page of a few centimetres."""
SMALLEST_LETTER_PX = 5
"""A lower or narrower picture has no letter. Tesseract would enlarge it to 36 pixels and run out of memory."""
MIN_CONFIDENCE_TO_ADD = 70.0
"""Mean confidence from which words in the images of a page are added to its own text. Photographs give less."""
MIN_CONFIDENCE_OF_A_SCAN = 50.0
"""The same for a page that has more words in its images than as text."""
LARGER_PREFIX = "larger"
WORDS_ELSEWHERE, SHARE_ELSEWHERE = 10, 0.6
"""A layer lies elsewhere if so many words are read where it has none, and it has this share of them."""
FOUND_SHARE = 0.5
"""Share of doubted words that are read from the picture too, from which the doubt is unfounded."""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """Paths of the parts of page `number`: `.txt`, `.json`, and `.pdf`, which is the layer of recognised text."""

    folder: Path
    number: int
    prefix: str = "page"

    def path(self, suffix: str) -> Path:
        """Return a path such as `page-000007.json`."""
        return self.folder / f"{self.prefix}-{self.number:06d}{suffix}"


@dataclass(frozen=True, slots=True)
class PageSummary:
    """Statistics of a page. `confidence`: mean of its `recognised` words, 0 to 100. `passes`: OCR engine runs."""

    number: int
    source: Source
    words: int
    recognised: int
    confidence: float | None
    rotation: int = 0
    passes: int = 0
    read_before: bool = False
    unread_area: float | None = None
    """See Page."""
    warnings: tuple[str, ...] = ()
    """Codes of warnings.py."""

    def document(self) -> dict[str, Any]:
        """Return the result document of the page's job."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """The document to read from, and the options."""

    source: Path
    media_type: str
    options: OcrOptions
    engine: Engine
    languages: str
    pixels_at_most: int
    extra_passes_s: float
    """Seconds after which no further pass is begun, and the best result so far is taken."""
    password: str | None = field(default=None, repr=False)

    @property
    def dpi(self) -> int:
        """The resolution at which a PDF page is rasterised first."""
        return self.options.dpi or FIRST_DPI


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared page. If `summary` is set, the page is finished, because it has usable text.

    `digest`: SHA-256 of the page's own text (if it is mixed) and of the image.
    """

    source: Source
    dpi: int
    summary: PageSummary | None = None
    image: PageImage | None = None
    digest: bytes = b""
    doubted: bool = False
    """The page's own text is hardly of any language. The picture decides."""
    has_layer: bool = False
    """Some of the page's own text is not seen: it stands for print in the picture."""


def prepare_page(task: Task, files: PageFiles, dpi: int, *, believed: bool = False) -> Prepared:
    """Extract page `files.number`. A PDF page is rasterised at `dpi`. Raises a Reject.

    `believed`: the page's own text is not doubted.
    """
    if task.media_type != PDF:
        image = prepare_image(task.source, files.number - 1, task.pixels_at_most, files.path(".ppm"))
        return _scan(image, image.dpi or ASSUMED_DPI, files)
    with open_pdf(task.source, task.password) as document:
        page = open_page(document, files.number)
        own = None if task.options.text == "replace" else judge(page)
        if own is not None and believed:
            own = replace(own, doubted=False)
        if own is None:
            image = rasterise_pdf_page(page, dpi, task.pixels_at_most, files.path(".ppm"))
            return _scan(image, image.dpi or dpi, files)
        if task.options.text == "fill" and (own.to_read or own.doubted):
            return _prepare_mixed(page, own, files, dpi, task.pixels_at_most)
        dpi = task.options.dpi or FULL_DPI
        width, height = (round(edge * dpi / POINTS_PER_INCH) for edge in page.get_size())
        found = Page(number=files.number, width=width, height=height, dpi=dpi, source="text-layer",
                     confidence=None, blocks=to_blocks(own.blocks, width, height))  # fmt: skip
        return Prepared("text-layer", dpi, _write_parts(files, text_of(found.blocks), found, ()))


def _prepare_mixed(
    page: pypdfium2.PdfPage, own: OwnText, files: PageFiles, dpi: int, pixels_at_most: int
) -> Prepared:
    """Write the page's own text, and draw the page without it, so that only the rest is recognised.

    If the text is doubted, the whole page is drawn.
    """
    with nullcontext() if own.doubted else own.left_out(page):
        image = rasterise_pdf_page(page, dpi, pixels_at_most, files.path(".ppm"))
    dpi = image.dpi or dpi
    if not own.doubted:
        with image.open() as drawn:
            own.blank_out_layer(drawn)
            drawn.save(image.path)
    found = Page(number=files.number, width=image.width, height=image.height, dpi=dpi, source="mixed",
                 confidence=None, blocks=to_blocks(own.blocks, image.width, image.height))  # fmt: skip
    _write_parts(files, text_of(found.blocks), found, ())
    prepared = _to_recognise("mixed", image, dpi, files.path(".json").read_bytes())
    return replace(prepared, doubted=own.doubted, has_layer=bool(own.layer))


def recognise_page(task: Task, prepared: Prepared, files: PageFiles) -> PageSummary:
    """Read the prepared image, and small print again at a higher resolution. Raises EngineFailed."""
    deadline = time.monotonic() + task.extra_passes_s
    reading = _read(task, prepared, files, deadline)
    passes = reading.passes
    may_be_larger = task.media_type == PDF and task.options.dpi is None
    while may_be_larger and time.monotonic() < deadline and (dpi := _larger_dpi(prepared, reading)) is not None:
        again, other = _read_larger(task, files, dpi, deadline)
        passes += other.passes if other is not None else 0
        if again is None or other is None or other.score <= reading.score:
            break
        prepared, reading = again, other
        for part in files.folder.glob(f"{replace(files, prefix=LARGER_PREFIX).path('').name}.*"):
            part.rename(files.path(part.suffix))
    again = _judged_again(task, prepared, reading, files)
    if again is None:
        return _finish(prepared, reading, files, passes)
    reading.pdf.unlink(missing_ok=True)
    files.path(".pdf").unlink(missing_ok=True)
    if again.summary is not None:
        return again.summary
    reading = _read(task, again, files, deadline)
    return _finish(again, reading, files, passes + reading.passes)


def _read_larger(
    task: Task, files: PageFiles, dpi: int, deadline: float
) -> tuple[Prepared | None, Reading | None]:
    """Read the page again at that resolution, into files of their own. None and None if the engine cannot."""
    larger = replace(files, prefix=LARGER_PREFIX)
    with suppress(EngineFailed):  # the first result stays
        prepared = prepare_page(task, larger, dpi)
        return prepared, _read(task, prepared, larger, deadline)
    return None, None


def _judged_again(task: Task, prepared: Prepared, reading: Reading, files: PageFiles) -> Prepared | None:
    """Prepare the page anew if the reading shows that its own text was misjudged; None if it was not."""
    if prepared.doubted and share_found(_own(files).blocks, reading.blocks) >= FOUND_SHARE:
        return prepare_page(task, files, prepared.dpi, believed=True)
    if prepared.has_layer and _lies_elsewhere(_own(files).blocks, reading.blocks):
        instead = replace(task, options=task.options.model_copy(update={"text": "replace"}))
        return prepare_page(instead, files, prepared.dpi)
    return None


def _lies_elsewhere(own: Sequence[Block], read: Sequence[Block]) -> bool:
    """Whether the picture has, apart from its layer, what the layer says: so the layer lies beside the print."""
    left = without_known(own, read)
    return _count(left) >= WORDS_ELSEWHERE and share_found(left, own) >= SHARE_ELSEWHERE


def _larger_dpi(prepared: Prepared, reading: Reading) -> int | None:
    """Return a resolution at which small print may be read better, or None."""
    image = prepared.image
    assert image is not None  # noqa: S101
    is_small = image.width * image.height * LARGER**2 <= LARGER_PIXELS_AT_MOST
    if not (reading.has_small_print or (is_small and _is_poor(reading))):
        return None
    if prepared.dpi < FULL_DPI:
        return FULL_DPI
    return round(prepared.dpi * LARGER) if is_small else None


def _is_poor(reading: Reading) -> bool:
    """Whether the engine is unsure, or there is print and no word."""
    confidence = _mean(reading.blocks)
    return reading.unread_area >= WORTH_A_LOOK if confidence is None else confidence < UNSURE_BELOW


def _own(files: PageFiles) -> Page:
    return Page.model_validate_json(files.path(".json").read_bytes())


def renumber(files: PageFiles) -> None:
    """Set the page number in parts that were copied from another page."""
    page = Page.model_validate_json(files.path(".json").read_bytes())
    files.path(".json").write_text(page.model_copy(update={"number": files.number}).model_dump_json())


def _read(task: Task, prepared: Prepared, files: PageFiles, deadline: float) -> Reading:
    image = prepared.image
    assert image is not None  # noqa: S101 - a page with text only is finished

    def reader(path: Path, base: Path) -> Reader:
        return Reader(
            task.engine,
            path,
            base,
            languages=task.languages,
            psm=task.options.psm,
            dpi=prepared.dpi,
            until=deadline,
        )

    def colours() -> Image.Image:
        if prepared.source != "ocr":  # what has words is blanked out in the image only
            with image.open() as grey:
                return grey.convert("RGB")
        return _in_colours(task, files.number, (image.width, image.height))

    reading = read_image(image, files.path(""), reader, colours, until=deadline)
    reading.pdf.rename(files.path(".pdf"))
    files.path(".ppm").unlink(missing_ok=True)
    return reading


def _in_colours(task: Task, number: int, size: tuple[int, int]) -> Image.Image:
    """Return the page in RGB, of that size in pixels."""
    if task.media_type != PDF:
        return coloured_picture(task.source, number - 1, size)
    with open_pdf(task.source, task.password) as document:
        page = open_page(document, number)
        drawn: Image.Image = page.render(scale=size[0] / page.get_width(), rev_byteorder=True).to_pil()
        drawn = drawn.convert("RGB")
        return drawn if drawn.size == size else drawn.resize(size)


def _finish(prepared: Prepared, reading: Reading, files: PageFiles, passes: int) -> PageSummary:
    image = prepared.image
    assert image is not None  # noqa: S101
    page = Page(number=files.number, width=image.width, height=image.height, dpi=prepared.dpi,
                source=prepared.source, confidence=_mean(reading.blocks), rotation=reading.rotation.quarters,
                skew=reading.rotation.skew, unread_area=reading.unread_area, warnings=_warnings(image),
                blocks=reading.blocks)  # fmt: skip
    if prepared.source == "ocr":
        return _write_parts(files, reading.text, page, reading.blocks, passes=passes)
    own = _own(files)
    if prepared.doubted:
        return _settle_doubt(own, page, reading, files, passes)
    read_words, own_words = _count(reading.blocks), _count(own.blocks)
    needed = MIN_CONFIDENCE_OF_A_SCAN if read_words > own_words else MIN_CONFIDENCE_TO_ADD
    if (page.confidence or 0.0) < needed:
        return _keep_own(own, files, passes)
    rotation = page.rotation if read_words > own_words else 0  # else only a picture lies on its side
    both = page.model_copy(update={"blocks": merge(own.blocks, reading.blocks), "rotation": rotation})
    return _write_parts(files, text_of(both.blocks), both, reading.blocks, passes=passes)


def _settle_doubt(own: Page, read: Page, reading: Reading, files: PageFiles, passes: int) -> PageSummary:
    """Take the words of the picture, which are others, if it can be read."""
    if (read.confidence or 0.0) < MIN_CONFIDENCE_TO_ADD:
        return _keep_own(own.model_copy(update={"warnings": ["text_layer_doubtful"]}), files, passes)
    replaced = read.model_copy(update={"source": "ocr", "warnings": ["text_layer_replaced"]})
    return _write_parts(files, reading.text, replaced, reading.blocks, passes=passes)


def _keep_own(own: Page, files: PageFiles, passes: int) -> PageSummary:
    """Leave out what was read from the picture."""
    files.path(".pdf").unlink()
    kept = own.model_copy(update={"source": "text-layer"})
    return _write_parts(files, text_of(kept.blocks), kept, (), passes=passes)


def _scan(image: PageImage, dpi: int, files: PageFiles) -> Prepared:
    """The picture of a page that has no usable text of its own."""
    if min(image.width, image.height) >= SMALLEST_LETTER_PX:
        return _to_recognise("ocr", image, dpi)
    nothing = Page(number=files.number, width=image.width, height=image.height, dpi=dpi, source="ocr",
                   confidence=None, warnings=_warnings(image), blocks=[])  # fmt: skip
    return Prepared("ocr", dpi, _write_parts(files, "", nothing, ()))


def _warnings(image: PageImage) -> list[str]:
    return ["picture_damaged"] if image.damaged else []


def _to_recognise(source: Source, image: PageImage, dpi: int, own_text: bytes = b"") -> Prepared:
    return Prepared(source, dpi, None, image, _digest(image.path, own_text))


def _write_parts(
    files: PageFiles, text: str, page: Page, recognised: Sequence[Block], *, passes: int = 0
) -> PageSummary:
    files.path(".txt").write_text(text)
    files.path(".json").write_text(page.model_dump_json())
    return PageSummary(
        page.number,
        page.source,
        words=_count(page.blocks),
        recognised=_count(recognised),
        confidence=page.confidence,
        rotation=page.rotation,
        passes=passes,
        unread_area=page.unread_area,
        warnings=tuple(page.warnings),
    )


def _count(blocks: Sequence[Block]) -> int:
    return sum(len(line.words) for block in blocks for line in block.lines)


def _mean(blocks: Sequence[Block]) -> float | None:
    confidences = [word.confidence for block in blocks for line in block.lines for word in line.words]
    return round(sum(confidences) / len(confidences), 1) if confidences else None


def _digest(image: Path, own_text: bytes) -> bytes:
    digest = hashlib.sha256(own_text)
    with image.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()

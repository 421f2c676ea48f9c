"""One page: read it, and leave its text, words and text layer in the folder. Runs in the sandbox."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from libs.common.contracts.ocr import Block, OcrOptions, Page
from services.ocr import textlayer
from services.ocr.documents import PDF, POINTS_PER_INCH, open_pdf, prepare_image, render_pdf_page
from services.ocr.tesseract import recognise

ASSUMED_DPI = 300
"""Of an image that does not state its resolution."""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """Where the parts of page `number` lie in the job's folder."""

    folder: Path
    number: int

    def path(self, suffix: str) -> Path:
        """`page-000007.json` and its like."""
        return self.folder / f"page-{self.number:06d}{suffix}"


@dataclass(frozen=True, slots=True)
class PageSummary:
    """A page in figures. `confidence_sum` is over its recognised words."""

    number: int
    source: Literal["ocr", "text-layer"]
    words: int
    confidence_sum: float


def read_page(
    source: Path, media_type: str, files: PageFiles, options: OcrOptions, languages: str, pixels_at_most: int
) -> PageSummary:
    """Read page `files.number`. Leaves `.txt` and `.json`, and `.pdf` where it was recognised.

    Raises a Reject, or EngineFailed.
    """
    if media_type != PDF:
        picture = prepare_image(source, files.number - 1, pixels_at_most, files.path(".ppm"))
        dpi = picture.dpi or ASSUMED_DPI
        return _recognise(files, picture.path, (picture.width, picture.height, dpi), options, languages, True)
    with open_pdf(source) as document:
        page = document[files.number - 1]
        text = textlayer.real_text(page)
        if text is not None:
            scale = options.dpi / POINTS_PER_INCH
            width, height = (round(edge * scale) for edge in page.get_size())
            blocks = textlayer.text_blocks(page, scale)
            return _leave(files, text, "text-layer", (width, height, options.dpi), blocks)
        picture = render_pdf_page(page, options.dpi, pixels_at_most, files.path(".ppm"))
    size = (picture.width, picture.height, picture.dpi or options.dpi)
    return _recognise(files, picture.path, size, options, languages, False)


def _recognise(
    files: PageFiles,
    image: Path,
    size: tuple[int, int, int],
    options: OcrOptions,
    languages: str,
    with_image: bool,
) -> PageSummary:
    recognised = recognise(
        image, files.path(""), languages=languages, psm=options.psm, dpi=size[2], with_image=with_image
    )
    summary = _leave(files, recognised.text, "ocr", size, recognised.blocks)
    files.path(".ppm").unlink(missing_ok=True)
    return summary


def _leave(
    files: PageFiles,
    text: str,
    source: Literal["ocr", "text-layer"],
    size: tuple[int, int, int],
    blocks: list[Block],
) -> PageSummary:
    confidences = [word.confidence for block in blocks for line in block.lines for word in line.words]
    total = sum(confidences)
    mean = round(total / len(confidences), 1) if confidences else None
    width, height, dpi = size
    page = Page(
        number=files.number,
        width=width,
        height=height,
        dpi=dpi,
        source=source,
        confidence=mean,
        blocks=blocks,
    )
    files.path(".txt").write_text(text)
    files.path(".json").write_text(page.model_dump_json())
    recognised = source == "ocr"
    return PageSummary(files.number, source, len(confidences), total if recognised else 0.0)

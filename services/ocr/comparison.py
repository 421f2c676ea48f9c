"""Whether document.pdf shows the pages that were read. Both are drawn small. Runs in the sandbox."""

from collections.abc import Sequence
from pathlib import Path

import pikepdf
import pypdfium2
from PIL import Image, ImageChops, ImageStat

from services.ocr.documents import PDF, POINTS_PER_INCH, open_pdf
from services.ocr.passwords import unlocked
from services.ocr.pictures import Stored, shown_picture, stored_pictures
from services.ocr.refusals import UnreadableDocument

DPI, EDGE_PX = 40, 400
"""The resolution at which pages are compared, and their longest edge in pixels at most."""
BLOCK = 6
"""Pixels that are averaged, so that a letter half a pixel aside or drawn more sharply is no difference."""
MEAN_AT_MOST, BLOCK_AT_MOST = 5.0, 28
"""Levels of 255 that blocks may differ by. What looks the same has at most 1 and 21, a line that is missing 40."""
PDF_PAGES_AT_MOST = 8
"""So many pages of a PDF are drawn, spread over the document. Drawing a scanned page takes 0.1 s."""


def differing_pages(
    result: Path, source: Path, media_type: str, numbers: Sequence[int], password: str | None = None
) -> list[int]:
    """Return which of the pages `numbers`, which the PDF `result` has, look otherwise there than in the source.

    These are all pages if the result cannot be opened without repair. All pictures are compared. Of a PDF, whose
    pages are copied in the same way, some are.
    """
    try:
        with unlocked(result, password, attempt_recovery=False) as written, open_pdf(result, password) as shown:
            if not len(written.pages) == len(shown) == len(numbers):
                return list(numbers)
            if media_type != PDF:
                pictures = stored_pictures(source)
                pages = zip(shown, numbers, strict=True)
                return [number for page, number in pages if not _shows(page, source, pictures[number - 1])]
            return _differing_from_pdf(shown, source, numbers, password)
    except (pikepdf.PdfError, pikepdf.PasswordError, RuntimeError, ValueError, UnreadableDocument):
        return list(numbers)


def _shows(page: pypdfium2.PdfPage, source: Path, stored: Stored) -> bool:
    picture = shown_picture(source, stored, (EDGE_PX, EDGE_PX))
    page.set_rotation(0)  # it may be upright only since it was read
    return look_alike(_drawn(page, max(picture.size)), picture)


def _differing_from_pdf(
    shown: pypdfium2.PdfDocument, source: Path, numbers: Sequence[int], password: str | None
) -> list[int]:
    step = max(1, len(numbers) // PDF_PAGES_AT_MOST)
    differing = []
    with open_pdf(source, password) as original:
        for index in range(0, len(numbers), step):
            before, after = original[numbers[index] - 1], shown[index]
            before.set_rotation(after.get_rotation())
            if not look_alike(_drawn(after), _drawn(before)):
                differing.append(numbers[index])
    return differing


def _drawn(page: pypdfium2.PdfPage, edge: int = EDGE_PX) -> Image.Image:
    longest = max(page.get_size())
    scale = min(DPI / POINTS_PER_INCH, min(edge, EDGE_PX) / longest)
    drawn: Image.Image = page.render(scale=scale, grayscale=True).to_pil()
    return drawn.convert("L")


def look_alike(first: Image.Image, second: Image.Image) -> bool:
    """Whether two pictures show the same. The second is scaled to the size of the first."""
    second = second.convert("L").resize(first.size, Image.Resampling.BOX)
    blocks = ImageChops.difference(first.reduce(BLOCK), second.reduce(BLOCK))
    worst = max(level for level, count in enumerate(blocks.histogram()) if count)
    return ImageStat.Stat(blocks).mean[0] <= MEAN_AT_MOST and worst <= BLOCK_AT_MOST

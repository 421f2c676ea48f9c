"""Makes a PDF of a picture file. Runs in the sandbox.

A picture goes into the PDF encoded as it is, if PDF knows its encoding. What has transparency or an encoding that
PDF does not know is encoded anew. Turned and mirrored pictures are not: the page's content turns them back.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import img2pdf
import pikepdf
from PIL import Image

from services.ocr.flattening import with_few_bits
from services.ocr.pictures import QUARTER_TURNED, Stored, shown_picture, stored_pictures
from services.ocr.refusals import UnreadableDocument

ASSUMED_DPI = 300
"""Assumed for an image that does not state its resolution."""
LONGEST_PAGE_PT, SHORTEST_PAGE_PT = 14_400, 3
"""The longest and the shortest edge of a PDF page, in points (ISO 32000-1, annex C)."""
KEPT_FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "JPEG2000", "GIF", "BMP")
"""Formats whose encoding PDF has too, or whose pictures become no larger by another without loss."""
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "HEIF", "AVIF", "JPEG2000")
LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
"""Of TIFF."""
QUALITIES = (95, 90, 85, 80, 75, 70, 60, 50, 40)
"""Of JPEG: the first with which a picture is not much larger than it was."""
GROWTH = 1.1
"""The factor by which a picture may be larger than its part of the file."""
UNIT_SQUARES = {
    1: (1, 0, 0, 1, 0, 0),
    2: (-1, 0, 0, 1, 1, 0),
    3: (-1, 0, 0, -1, 1, 1),
    4: (1, 0, 0, -1, 0, 1),
    5: (0, -1, -1, 0, 1, 1),
    6: (0, -1, 1, 0, 0, 1),
    7: (0, 1, 1, 0, 0, 0),
    8: (0, 1, -1, 0, 1, 0),
}
"""For each orientation, how the unit square of the stored picture lies in the page (ISO 32000-1, 8.3.3)."""


def write_pdf(source: Path, folder: Path, path: Path, *, anew: Collection[int] = ()) -> None:
    """Write the pages of the picture file `source` to the PDF `path`. Temporary files go to `folder`.

    `anew`: the pages, counted from 0, that are encoded anew in any case. Raises a Reject.
    """
    pages = stored_pictures(source)
    budget = int(GROWTH * source.stat().st_size / len(pages))
    with ExitStack() as opened:
        document = opened.enter_context(pikepdf.new())
        kept = _kept_pages(source, folder / "kept.pdf", pages, opened)
        for number, stored in enumerate(pages):
            if stored.frame in kept and number not in anew:
                page, orientation = kept[stored.frame], stored.orientation
            else:
                again = _encoded_anew(source, stored, folder / f"frame-{number:06d}", budget)
                page, orientation = opened.enter_context(pikepdf.open(again)).pages[0], 1
            document.pages.append(page)
            _lay_out(document, document.pages[number], stored, orientation)
        document.save(path)


def _kept_pages(source: Path, path: Path, pages: Sequence[Stored], opened: ExitStack) -> dict[int, pikepdf.Page]:
    """The frames whose encoding can stay, each as a page."""
    suitable = {stored.frame for stored in pages if _can_be_kept(stored)}
    several = pages[0].format == "TIFF"
    if not suitable or not _to_pdf(source, path, first_frame_only=not several):
        return {}
    kept = opened.enter_context(pikepdf.open(path))
    if not several:
        return {pages[0].frame: kept.pages[0]}
    return {frame: kept.pages[frame] for frame in suitable if frame < len(kept.pages)}


def _can_be_kept(stored: Stored) -> bool:
    if stored.see_through or stored.format not in KEPT_FORMATS:
        return False
    return stored.format != "TIFF" or (stored.compression not in LOSSY_COMPRESSIONS and stored.orientation == 1)


def _to_pdf(picture: Path, path: Path, *, first_frame_only: bool = True) -> bool:
    """Write a PDF of the picture file, as img2pdf makes it. Returns whether it could."""
    with path.open("wb") as file, suppress(Exception):  # img2pdf raises errors of any type for what it cannot keep
        img2pdf.convert(
            picture,
            layout_fun=lambda *_size: (72, 72, 72, 72),  # the layout is made here
            rotation=img2pdf.Rotation.none,
            first_frame_only=first_frame_only,
            outputstream=file,
        )
        return True
    return False


def _encoded_anew(source: Path, stored: Stored, path: Path, budget: int) -> Path:
    """Write a PDF with the page as a viewer shows it. `budget`: bytes that it may take if its file lost detail."""
    image = shown_picture(source, stored, (stored.width, stored.height))
    if image.mode != "1" and _is_lossy(stored):
        encoded = _as_jpeg(image, path.with_suffix(".jpg"), budget)
    else:
        encoded = _without_loss(with_few_bits(image), path)
    result = path.with_suffix(".pdf")
    if not _to_pdf(encoded, result):
        raise UnreadableDocument
    return result


def _as_jpeg(image: Image.Image, path: Path, budget: int) -> Path:
    for quality in QUALITIES:
        image.save(path, format="JPEG", quality=quality)
        if path.stat().st_size <= budget:
            break
    return path


def _without_loss(image: Image.Image, path: Path) -> Path:
    """Write the picture as the smallest of the files that PDF can have as they are."""
    files = [path.with_suffix(".png")]
    image.save(files[0])
    if image.mode == "1":
        files.append(path.with_suffix(".tif"))
        image.save(files[1], compression="group4")  # halftones are smaller as PNG
    return min(files, key=lambda file: file.stat().st_size)


def _is_lossy(stored: Stored) -> bool:
    return stored.compression in LOSSY_COMPRESSIONS or (
        stored.format in LOSSY_FORMATS and stored.compression != "lossless"
    )


def _lay_out(document: pikepdf.Pdf, page: pikepdf.Page, stored: Stored, orientation: int) -> None:
    """Give the page the size that the file states, and its picture, stored in that orientation, the whole page."""
    across, down = stored.dpi or (ASSUMED_DPI, ASSUMED_DPI)
    width, height = 72 * stored.width / across, 72 * stored.height / down
    if stored.orientation in QUARTER_TURNED:
        width, height = height, width
    shrink = min(1.0, LONGEST_PAGE_PT / max(width, height))
    width, height = (max(edge * shrink, SHORTEST_PAGE_PT) for edge in (width, height))
    a, b, c, d, e, f = UNIT_SQUARES[orientation]
    matrix = (a * width, b * height, c * width, d * height, e * width, f * height)
    name = next(iter(page.Resources.XObject.keys()))
    drawn = " ".join(f"{number:.4f}" for number in matrix)
    page.Contents = document.make_stream(f"q {drawn} cm {name} Do Q".encode())
    page.MediaBox = [0, 0, width, height]
    for key in ("/CropBox", "/TrimBox", "/BleedBox", "/ArtBox", "/Rotate"):
        if key in page:
            del page[key]

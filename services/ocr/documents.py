"""Opening documents: how many pages, which of them have text, and a page as an image. Untrusted input.

Everything here runs in the sandbox.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import pikepdf
import pypdfium2
import pypdfium2.raw
from PIL import Image, ImageOps, UnidentifiedImageError

from services.ocr.refusals import (
    EmptyDocument,
    EncryptedDocument,
    ImageTooLarge,
    TooManyPages,
    UnreadableDocument,
)

PDF = "application/pdf"
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
"""Pillow's others, some of which run programs, are not tried."""
DECODED_PIXELS_AT_MOST = 400_000_000
"""An image with more pixels than this is not even decoded."""
LONGEST_EDGE = 32_000
"""Tesseract reads no image with an edge beyond 32,767 pixels."""
POINTS_PER_INCH = 72

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit is one number for all; ours are below


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as an image file. `dpi` None: not known."""

    path: Path
    width: int
    height: int
    dpi: int | None

    @contextmanager
    def open(self) -> Iterator[Image.Image]:
        """Its pixels."""
        with Image.open(self.path) as image:
            image.load()
            yield image


def count_pages(source: Path, media_type: str, at_most: int) -> int:
    """How many pages the document has. Raises a Reject where it cannot be read."""
    if source.stat().st_size == 0:
        raise EmptyDocument("The file is empty.")
    if media_type == PDF:
        with open_pdf(source) as document:
            pages = len(document)
        _check_structure(source)
    else:
        pages = frames_of(source)
    if pages == 0:
        raise EmptyDocument
    if pages > at_most:
        raise TooManyPages(f"The document has {pages} pages; at most {at_most} are accepted.")
    return pages


@contextmanager
def open_pdf(source: Path) -> Iterator[pypdfium2.PdfDocument]:
    """A PDF for looking at its pages. Raises UnreadableDocument, EncryptedDocument."""
    try:
        document = pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise EncryptedDocument from error
        raise UnreadableDocument(f"The PDF cannot be read: {error}") from error
    try:
        yield document
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"The PDF cannot be read: {error}") from error
    finally:
        document.close()


@contextmanager
def open_image(source: Path) -> Iterator[Image.Image]:
    """An image file, not decoded yet. Raises UnreadableDocument."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            yield image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise UnreadableDocument(f"The image cannot be read: {error}") from error


def draw_pdf_page(page: pypdfium2.PdfPage, dpi: int, pixels_at_most: int, path: Path) -> Picture:
    """Draw a PDF page in grey at `dpi`, or at less if that were too many pixels."""
    width_pt, height_pt = page.get_size()
    scale = dpi / POINTS_PER_INCH
    scale = min(scale, sqrt(pixels_at_most / max(1.0, width_pt * height_pt)))
    scale = min(scale, LONGEST_EDGE / max(width_pt, height_pt, 1.0))
    drawn = page.render(scale=scale, grayscale=True).to_pil()
    drawn.save(path, format="PPM")  # no compression: it lives for one page
    return Picture(path, drawn.width, drawn.height, round(scale * POINTS_PER_INCH))


def prepare_image(source: Path, frame: int, pixels_at_most: int, path: Path) -> Picture:
    """A frame of an image file as Tesseract can read it: the file itself, or one turned, flattened, smaller."""
    with open_image(source) as image:
        image.seek(frame)
        if image.width * image.height > DECODED_PIXELS_AT_MOST:
            raise ImageTooLarge(f"{image.width} × {image.height} pixels are more than can be decoded.")
        dpi = _dpi(image)
        single = getattr(image, "n_frames", 1) == 1
        upright = image.getexif().get(0x0112, 1) == 1
        small = image.width * image.height <= pixels_at_most and max(image.size) <= LONGEST_EDGE
        if single and upright and small and image.format in ("JPEG", "PNG") and image.mode in ("1", "L", "RGB"):
            image.load()  # damage shows here, not in the engine
            return Picture(source, image.width, image.height, dpi)
        longest_edge = max(image.size)
        image.draft("L", _fitting(image.size, pixels_at_most))  # JPEG alone can decode to less
        grey = _grey(ImageOps.exif_transpose(image))
        fitting = _fitting(grey.size, pixels_at_most)
        if fitting != grey.size:
            grey = grey.resize(fitting, Image.Resampling.LANCZOS)
        grey.save(path, format="PPM")
        scaled = max(grey.size) < longest_edge
        return Picture(path, grey.width, grey.height, None if scaled else dpi)


def frames_of(source: Path) -> int:
    """How many pictures an image file has. Raises UnreadableDocument."""
    with open_image(source) as image:
        return int(getattr(image, "n_frames", 1))


def resolution_of(source: Path) -> int | None:
    """Dots per inch that an image file states, if that can be true."""
    with open_image(source) as image:
        return _dpi(image)


def flattened_frames(source: Path, folder: Path) -> Iterator[Path]:
    """Every frame of an image file as a PNG in `folder`, upright, opaque and in 8 bits a channel."""
    with open_image(source) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frame = ImageOps.exif_transpose(image)
            grey = frame.mode in ("1", "L", "LA") or frame.mode.startswith("I")
            flat = _grey(frame) if grey else _flat(frame)
            path = folder / f"frame-{number:06d}.png"
            flat.save(path)
            yield path


def _flat(image: Image.Image) -> Image.Image:
    """In colour, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _check_structure(source: Path) -> None:
    """Raises where the result could not be written into a copy of the PDF in the end: better now than then."""
    try:
        with pikepdf.open(source) as document:
            len(document.pages)
    except pikepdf.PasswordError as error:
        raise EncryptedDocument from error
    except (pikepdf.PdfError, RuntimeError, ValueError) as error:
        raise UnreadableDocument(f"The PDF's structure is beyond repair: {error}") from error


def _grey(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = _flat(image)
    if image.mode.startswith("I"):  # 16 bits and more: convert() would cut them off, not scale them
        image = image.convert("I").point(lambda value: value * (1 / 256))
    return image.convert("L")


def _fitting(size: tuple[int, int], pixels_at_most: int) -> tuple[int, int]:
    width, height = size
    scale = min(1.0, sqrt(pixels_at_most / (width * height)), LONGEST_EDGE / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _dpi(image: Image.Image) -> int | None:
    """The resolution the file states, if it can be true."""
    try:
        stated = float(image.info.get("dpi", (0, 0))[0])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return round(stated) if 70 <= stated <= 2400 else None

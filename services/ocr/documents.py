"""Opens documents, counts their pages, and rasterises a page. Everything here runs in the sandbox.

Documents are untrusted input.
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
"""Pillow's other formats are not enabled. Some of them run external programs."""
DECODED_PIXELS_AT_MOST = 400_000_000
"""Images with more pixels are refused before they are decoded."""
LONGEST_EDGE = 32_000
"""Pixels. Tesseract reads no image with an edge of more than 32,767 pixels."""
POINTS_PER_INCH = 72

Image.MAX_IMAGE_PIXELS = None  # replaced by the limits of this module


@dataclass(frozen=True, slots=True)
class PageImage:
    """A page as an image file. `width` and `height` in pixels; `dpi` is None if not known."""

    path: Path
    width: int
    height: int
    dpi: int | None

    @contextmanager
    def open(self) -> Iterator[Image.Image]:
        """Open and decode the image."""
        with Image.open(self.path) as image:
            image.load()
            yield image


def count_pages(source: Path, media_type: str, at_most: int) -> int:
    """Count the pages of the document. Raises a Reject if it cannot be read, is empty or has too many pages."""
    if source.stat().st_size == 0:
        raise EmptyDocument("The file is empty.")
    if media_type == PDF:
        with open_pdf(source) as document:
            pages = len(document)
        _check_structure(source)
    else:
        pages = count_frames(source)
    if pages == 0:
        raise EmptyDocument
    if pages > at_most:
        raise TooManyPages(f"The document has {pages} pages; at most {at_most} are accepted.")
    return pages


@contextmanager
def open_pdf(source: Path) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF for reading its pages. Raises UnreadableDocument, EncryptedDocument."""
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
    """Open an image file without decoding it. Raises UnreadableDocument."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            yield image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise UnreadableDocument(f"The image cannot be read: {error}") from error


def rasterise_pdf_page(page: pypdfium2.PdfPage, dpi: int, pixels_at_most: int, path: Path) -> PageImage:
    """Rasterise a PDF page in grey at `dpi`, or at less if it would have too many pixels."""
    width_pt, height_pt = page.get_size()
    scale = dpi / POINTS_PER_INCH
    scale = min(scale, sqrt(pixels_at_most / max(1.0, width_pt * height_pt)))
    scale = min(scale, LONGEST_EDGE / max(width_pt, height_pt, 1.0))
    image = page.render(scale=scale, grayscale=True).to_pil()
    image.save(path, format="PPM")  # not compressed, because it is needed only briefly
    return PageImage(path, image.width, image.height, round(scale * POINTS_PER_INCH))


def prepare_image(source: Path, frame: int, pixels_at_most: int, path: Path) -> PageImage:
    """Prepare a frame for Tesseract: the file itself if suitable, else an upright, opaque, smaller grey copy."""
    with open_image(source) as image:
        image.seek(frame)
        if image.width * image.height > DECODED_PIXELS_AT_MOST:
            raise ImageTooLarge(f"{image.width} × {image.height} pixels are more than can be decoded.")
        dpi = _dpi(image)
        single = getattr(image, "n_frames", 1) == 1
        upright = image.getexif().get(0x0112, 1) == 1
        small = image.width * image.height <= pixels_at_most and max(image.size) <= LONGEST_EDGE
        if single and upright and small and image.format in ("JPEG", "PNG") and image.mode in ("1", "L", "RGB"):
            image.load()  # finds damage here, not in the OCR engine
            return PageImage(source, image.width, image.height, dpi)
        longest_edge = max(image.size)
        image.draft("L", _fit(image.size, pixels_at_most))  # only JPEG supports decoding at a lower resolution
        grey = _to_grey(ImageOps.exif_transpose(image))
        fitted = _fit(grey.size, pixels_at_most)
        if fitted != grey.size:
            grey = grey.resize(fitted, Image.Resampling.LANCZOS)
        grey.save(path, format="PPM")
        scaled = max(grey.size) < longest_edge
        return PageImage(path, grey.width, grey.height, None if scaled else dpi)


def count_frames(source: Path) -> int:
    """Count the frames of an image file. Raises UnreadableDocument."""
    with open_image(source) as image:
        return int(getattr(image, "n_frames", 1))


def resolution_of(source: Path) -> int | None:
    """Return the resolution in dpi that an image file states, or None if it is missing or implausible."""
    with open_image(source) as image:
        return _dpi(image)


def flattened_frames(source: Path, folder: Path) -> Iterator[Path]:
    """Write each frame of an image file to `folder` as PNG: upright, opaque, 8 bits per channel."""
    with open_image(source) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frame = ImageOps.exif_transpose(image)
            grey = frame.mode in ("1", "L", "LA") or frame.mode.startswith("I")
            flat = _to_grey(frame) if grey else _flatten(frame)
            path = folder / f"frame-{number:06d}.png"
            flat.save(path)
            yield path


def _flatten(image: Image.Image) -> Image.Image:
    """Convert to RGB, with transparent areas on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _check_structure(source: Path) -> None:
    """Raise early if the PDF is too damaged for pikepdf, which writes the result at the end."""
    try:
        with pikepdf.open(source) as document:
            len(document.pages)
    except pikepdf.PasswordError as error:
        raise EncryptedDocument from error
    except (pikepdf.PdfError, RuntimeError, ValueError) as error:
        raise UnreadableDocument(f"The PDF's structure is beyond repair: {error}") from error


def _to_grey(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = _flatten(image)
    if image.mode.startswith("I"):  # 16 bits and more: convert() would clip the values, not scale them
        image = image.convert("I").point(lambda value: value * (1 / 256))
    return image.convert("L")


def _fit(size: tuple[int, int], pixels_at_most: int) -> tuple[int, int]:
    width, height = size
    scale = min(1.0, sqrt(pixels_at_most / (width * height)), LONGEST_EDGE / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _dpi(image: Image.Image) -> int | None:
    """Return the stated resolution if it is plausible."""
    try:
        stated = float(image.info.get("dpi", (0, 0))[0])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return round(stated) if 70 <= stated <= 2400 else None

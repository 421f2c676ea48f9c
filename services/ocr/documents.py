"""Opens documents, counts their pages, and rasterises a page. Everything here runs in the sandbox.

Documents are untrusted input. PDFium draws PDF pages, and qpdf writes the result, so both have to read a PDF. One
that either refuses is repaired by the other.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path

import pikepdf
import pypdfium2
import pypdfium2.raw

from services.ocr.page_tree import without_loops
from services.ocr.pictures import LONGEST_EDGE, PageImage, stored_pictures
from services.ocr.refusals import EmptyDocument, EncryptedDocument, TooManyPages, UnreadableDocument

PDF = "application/pdf"
POINTS_PER_INCH = 72
FOR_A_CERTIFICATE = "The PDF is encrypted for a certificate; remove its encryption first."


def count_pages(source: Path, media_type: str, at_most: int) -> int:
    """Count the pages of the document. Raises a Reject if it cannot be read, is empty or has too many pages."""
    if source.stat().st_size == 0:
        raise EmptyDocument("The file is empty.")
    if media_type == PDF:
        with open_structure(source) as document:  # finds now what would be in the way of writing the result
            pages = len(document.pages)
    else:
        pages = len(stored_pictures(source))
    if pages == 0:
        raise EmptyDocument
    if pages > at_most:
        raise TooManyPages(f"The document has {pages} pages; at most {at_most} are accepted.")
    return pages


@contextmanager
def open_pdf(source: Path) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF for drawing its pages. Raises UnreadableDocument, EncryptedDocument, EmptyDocument."""
    try:
        document = pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_SECURITY:
            raise EncryptedDocument(FOR_A_CERTIFICATE) from error
        document = _repaired_by_qpdf(source)
    try:
        yield document
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument from error
    finally:
        document.close()


@contextmanager
def open_structure(source: Path, *, rewritten: bool = False) -> Iterator[pikepdf.Pdf]:
    """Open a PDF for writing it with changes. It has the pages that `open_pdf` shows.

    `rewritten`: take what PDFium makes of it, even if nothing seems wrong; outline, links and forms are lost.
    Raises UnreadableDocument, EncryptedDocument, EmptyDocument.
    """
    with open_pdf(source) as shown:
        document = None if rewritten else _opened_by_qpdf(source, len(shown))
        if document is None:
            document = _rewritten_by_pdfium(shown)
    try:
        with document:
            yield document
    except (pikepdf.PdfError, RuntimeError, ValueError) as error:
        raise UnreadableDocument from error


def rasterise_pdf_page(page: pypdfium2.PdfPage, dpi: int, pixels_at_most: int, path: Path) -> PageImage:
    """Rasterise a PDF page in grey at `dpi`, or at less if it would have too many pixels."""
    width_pt, height_pt = page.get_size()
    scale = dpi / POINTS_PER_INCH
    scale = min(scale, sqrt(pixels_at_most / max(1.0, width_pt * height_pt)))
    scale = min(scale, LONGEST_EDGE / max(width_pt, height_pt, 1.0))
    image = page.render(scale=scale, grayscale=True).to_pil()
    image.save(path, format="PPM")  # not compressed, because it is needed only briefly
    return PageImage(path, image.width, image.height, round(scale * POINTS_PER_INCH))


def _repaired_by_qpdf(source: Path) -> pypdfium2.PdfDocument:
    buffer = io.BytesIO()
    try:
        with without_loops(source) as document:
            if not document.pages:
                raise EmptyDocument
            document.save(buffer)
        return pypdfium2.PdfDocument(buffer, autoclose=True)
    except pikepdf.PasswordError as error:
        raise EncryptedDocument from error
    except (pikepdf.PdfError, pypdfium2.PdfiumError, RuntimeError, ValueError) as error:
        raise UnreadableDocument from error


def _opened_by_qpdf(source: Path, pages: int) -> pikepdf.Pdf | None:
    """Open the PDF, or return None if it has not that many pages, or is beyond qpdf."""
    try:
        document = without_loops(source)
    except pikepdf.PasswordError as error:
        raise EncryptedDocument from error
    except (pikepdf.PdfError, RuntimeError, ValueError):
        return None
    if len(document.pages) == pages:
        return document
    document.close()
    return None


def _rewritten_by_pdfium(shown: pypdfium2.PdfDocument) -> pikepdf.Pdf:
    buffer = io.BytesIO()
    copy = pypdfium2.PdfDocument.new()
    try:
        copy.import_pages(shown)
        copy.save(buffer)
        return pikepdf.open(buffer)
    except (pypdfium2.PdfiumError, pikepdf.PdfError, RuntimeError, ValueError) as error:
        raise UnreadableDocument from error
    finally:
        copy.close()

"""Opens documents, counts their pages, and rasterises a page. Everything here runs in the sandbox.

Documents are untrusted input. PDFium draws PDF pages, and qpdf writes the result, so both have to read a PDF. One
that either refuses is repaired by the other.
"""

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import sqrt
from pathlib import Path

import pikepdf
import pypdfium2
import pypdfium2.raw

from services.ocr.page_tree import without_loops
from services.ocr.passwords import unlocked
from services.ocr.pictures import LONGEST_EDGE, PageImage, stored_pictures
from services.ocr.refusals import (
    EmptyDocument,
    EncryptedDocument,
    EncryptedForCertificate,
    TooManyPages,
    UnreadableDocument,
    WrongPassword,
)

PDF = "application/pdf"
POINTS_PER_INCH = 72
NOTHING_ALLOWED = pikepdf.Permissions(**dict.fromkeys(pikepdf.Permissions._fields, False))


def count_pages(source: Path, media_type: str, at_most: int, password: str | None = None) -> int:
    """Count the pages of the document. Raises a Reject if it cannot be read, is empty or has too many pages."""
    if source.stat().st_size == 0:
        raise EmptyDocument("The file is empty.")
    if media_type == PDF:
        # This finds now what would be in the way of writing the result.
        with open_structure(source, password) as document:
            pages = len(document.pages)
    else:
        pages = len(stored_pictures(source))
    if pages == 0:
        raise EmptyDocument
    if pages > at_most:
        raise TooManyPages(f"The document has {pages} pages; at most {at_most} are accepted.")
    return pages


@contextmanager
def open_pdf(source: Path, password: str | None = None) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF for drawing its pages. A password that it does not need is ignored.

    Raises UnreadableDocument, EncryptedDocument, WrongPassword, EncryptedForCertificate, EmptyDocument.
    """
    document = _opened_by_pdfium(source, password) or _repaired_by_qpdf(source, password)
    try:
        yield document
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument from error
    finally:
        document.close()


@contextmanager
def open_structure(source: Path, password: str | None = None, *, rewritten: bool = False) -> Iterator[pikepdf.Pdf]:
    """Open a PDF for writing it with changes. It has the pages that `open_pdf` shows.

    `rewritten`: take what PDFium makes of it, even if nothing seems wrong; outline, links and forms are lost.
    Raises what `open_pdf` raises.
    """
    with open_pdf(source, password) as shown:
        document = None if rewritten else _opened_by_qpdf(source, password, len(shown))
        if document is None:
            document = _rewritten_by_pdfium(shown, _protection(source, password, shown), password)
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


def _opened_by_pdfium(source: Path, password: str | None) -> pypdfium2.PdfDocument | None:
    """Open the PDF, or return None if PDFium refuses it. Raises EncryptedForCertificate."""
    for given in dict.fromkeys((password, None)):
        try:
            return pypdfium2.PdfDocument(source, given)
        except pypdfium2.PdfiumError as error:
            if error.err_code == pypdfium2.raw.FPDF_ERR_SECURITY:
                raise EncryptedForCertificate from error
            if error.err_code != pypdfium2.raw.FPDF_ERR_PASSWORD:
                break
    return None


def _repaired_by_qpdf(source: Path, password: str | None) -> pypdfium2.PdfDocument:
    buffer = io.BytesIO()
    try:
        with without_loops(source, password) as document:
            if not document.pages:
                raise EmptyDocument
            document.save(buffer)
        return pypdfium2.PdfDocument(buffer, autoclose=True)
    except pikepdf.PasswordError as error:
        raise _refusal(password) from error
    except (pikepdf.PdfError, pypdfium2.PdfiumError, RuntimeError, ValueError) as error:
        raise UnreadableDocument from error


def _opened_by_qpdf(source: Path, password: str | None, pages: int) -> pikepdf.Pdf | None:
    """Open the PDF, or return None if it has not that many pages, or is beyond qpdf."""
    try:
        document = without_loops(source, password)
    except pikepdf.PasswordError as error:
        raise _refusal(password) from error
    except (pikepdf.PdfError, RuntimeError, ValueError):
        return None
    if len(document.pages) == pages:
        return document
    document.close()
    return None


def _refusal(password: str | None) -> EncryptedDocument | WrongPassword:
    return EncryptedDocument() if password is None else WrongPassword()


def _protection(source: Path, password: str | None, shown: pypdfium2.PdfDocument) -> pikepdf.Encryption | None:
    """The encryption that a copy needs to be protected as the PDF is; None: it is not encrypted.

    Its owner's password is not known, so the copy gets one that nobody knows. If it cannot be told what the PDF
    allows, the copy allows nothing.
    """
    owner = secrets.token_urlsafe()
    for user in dict.fromkeys((None, password)):
        with (
            suppress(pikepdf.PdfError, pikepdf.PasswordError, RuntimeError, ValueError),
            unlocked(source, user, inherit_page_attributes=False) as original,
        ):
            if not original.is_encrypted:
                return None
            return pikepdf.Encryption(user=user or "", owner=owner, allow=original.allow)
    if pypdfium2.raw.FPDF_GetSecurityHandlerRevision(shown) < 0:
        return None
    return pikepdf.Encryption(user=password or "", owner=owner, allow=NOTHING_ALLOWED)


def _rewritten_by_pdfium(
    shown: pypdfium2.PdfDocument, protection: pikepdf.Encryption | None, password: str | None
) -> pikepdf.Pdf:
    buffer = io.BytesIO()
    copy = pypdfium2.PdfDocument.new()
    try:
        copy.import_pages(shown)
        copy.save(buffer)
        if protection is None:
            return pikepdf.open(buffer)
        protected = io.BytesIO()
        with pikepdf.open(buffer) as plain:
            plain.save(protected, encryption=protection)
        return unlocked(protected, password)
    except (pypdfium2.PdfiumError, pikepdf.PdfError, RuntimeError, ValueError) as error:
        raise UnreadableDocument from error
    finally:
        copy.close()

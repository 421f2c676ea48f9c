"""A PDF page as a viewer shows it: with the values of its form and its notes. Runs in the sandbox."""

from math import ceil, sqrt

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from services.ocr.documents import POINTS_PER_INCH

SMALL_DPI, SMALL_PIXELS = 100, 4_000_000
"""Resolution of a page that is only looked at, and its limit."""
WITHOUT_LOOKS = (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP)
"""Annotations that draw nothing on the page."""


def open_page(document: pypdfium2.PdfDocument, number: int) -> pypdfium2.PdfPage:
    """Open page `number`, counted from 1, with what its annotations show drawn into it."""
    page = document[number - 1]
    if not _has_looks(page):
        return page
    page.close()
    document.init_forms()
    page = document[number - 1]
    if pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) != pdfium.FLATTEN_SUCCESS:
        return page
    page.close()  # the objects of the page are read when it is opened
    return document[number - 1]


def draw_small(page: pypdfium2.PdfPage, ground: tuple[int, int, int] | None = None) -> Image.Image:
    """Draw the page at about 100 dpi, in grey, or in colours on a ground of that colour."""
    width, height = page.get_size()
    scale = min(SMALL_DPI / POINTS_PER_INCH, sqrt(SMALL_PIXELS / max(1.0, ceil(width) * ceil(height))))
    if ground is None:
        drawn: Image.Image = page.render(scale=scale, grayscale=True).to_pil()
    else:
        drawn = page.render(scale=scale, fill_color=(*ground, 255), rev_byteorder=True).to_pil().convert("RGB")
    return drawn


def _has_looks(page: pypdfium2.PdfPage) -> bool:
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        pdfium.FPDFPage_CloseAnnot(annotation)
        if kind not in WITHOUT_LOOKS:
            return True
    return False

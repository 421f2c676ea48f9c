"""Writes the searchable PDF: the source with invisible text on the pages that were recognised."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pikepdf
from pikepdf import Array, Dictionary, Name, Object, ObjectStreamMode

from libs.common.contracts.ocr import Page
from services.ocr.invisible_text import remove_invisible_text
from services.ocr.page_reading import PageFiles
from services.ocr.page_selection import keep_pages
from services.ocr.refusals import UnreadableDocument

DEEPEST = 50
"""Levels of a form's fields that are followed."""


def write_searchable(
    document: pikepdf.Pdf, pages: Sequence[PageFiles], path: Path, *, rotate: bool = False
) -> list[str]:
    """Write the `pages` of the document, with their layers of recognised text. Images stay as they are.

    `rotate`: those that were recognised as turned are shown upright. What is encrypted stays so, in the same way.
    Returns codes of warnings: of what the document claims and the copy does not keep. Raises UnreadableDocument.
    """
    try:
        layers = [page for page in pages if page.path(".pdf").exists()]
        fonts: dict[bytes, Object] = {}
        for page in layers:
            _put_layer(document, page, fonts, rotate=rotate)
        wanted = {page.number for page in pages}
        is_part = len(wanted) < len(document.pages)
        if is_part:
            keep_pages(document, wanted)
        warnings = ["signature_lost"] if _is_signed(document) else []
        claims = _claims_pdfa(document)
        if claims and (layers or is_part):
            _remove_claim(document)
            warnings.append("pdfa_claim_removed")
            claims = False
        # PDF/A-1 allows no object streams
        streams = ObjectStreamMode.preserve if claims else ObjectStreamMode.generate
        document.save(path, object_stream_mode=streams, encryption=document.is_encrypted)
        return warnings
    except pikepdf.PdfError as error:
        raise UnreadableDocument from error


def _put_layer(document: pikepdf.Pdf, files: PageFiles, fonts: dict[bytes, Object], *, rotate: bool) -> None:
    """Put the recognised text on its page.

    It comes before the page's own content, which may leave its scale in force or restore too much.
    `fonts`: those of the layers so far, by their contents. The document has each once.
    """
    target = document.pages[files.number - 1]
    read = Page.model_validate_json(files.path(".json").read_bytes())
    if read.source == "ocr":
        remove_invisible_text(document, target)
    with pikepdf.open(files.path(".pdf")) as layer:
        name = target.add_underlay(layer.pages[0], _shown_area(target))
    _share_fonts(target.Resources.XObject[name], fonts)
    if rotate and read.rotation:
        target.rotate(-read.rotation, relative=True)


def _share_fonts(form: Object, fonts: dict[bytes, Object]) -> None:
    """Replace the fonts of the form by equal ones. Tesseract has a copy in each layer."""
    used = form.Resources.get("/Font", Dictionary())
    for name, font in used.items():
        if "/DescendantFonts" not in font:
            continue
        (descendant,) = font.DescendantFonts
        streams = (font.ToUnicode, descendant.CIDToGIDMap, descendant.FontDescriptor.FontFile2)
        used[name] = fonts.setdefault(b"".join(stream.read_raw_bytes() for stream in streams), font)
    for inner in form.Resources.get("/XObject", Dictionary()).values():
        _share_fonts(inner, fonts)


def _shown_area(page: pikepdf.Page) -> pikepdf.Rectangle:
    """Return what a viewer shows of the page: its CropBox within its MediaBox."""
    media, crop = (_normal(box) for box in (page.mediabox, page.cropbox))
    left, bottom = max(media[0], crop[0]), max(media[1], crop[1])
    right, top = min(media[2], crop[2]), min(media[3], crop[3])
    return pikepdf.Rectangle(*((left, bottom, right, top) if left < right and bottom < top else media))


def _normal(box: Object) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(edge) for edge in list(box)[:4])
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _is_signed(document: pikepdf.Pdf) -> bool:
    form = document.Root.get("/AcroForm")
    return isinstance(form, Dictionary) and any(_has_signature(field, 0) for field in _list(form.get("/Fields")))


def _has_signature(field: Object, depth: int) -> bool:
    if not isinstance(field, Dictionary):
        return False
    if field.get("/FT") == Name.Sig and "/V" in field:
        return True
    return depth < DEEPEST and any(_has_signature(kid, depth + 1) for kid in _list(field.get("/Kids")))


def _list(array: Object | None) -> list[Object]:
    return list(array) if isinstance(array, Array) else []


def _claims_pdfa(document: pikepdf.Pdf) -> bool:
    metadata = document.Root.get("/Metadata")
    with suppress(pikepdf.PdfError):
        return isinstance(metadata, pikepdf.Stream) and b"pdfaid" in metadata.read_bytes()
    return False


def _remove_claim(document: pikepdf.Pdf) -> None:
    try:
        with document.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
            for key in [key for key in metadata if "pdfa/ns/id" in key]:
                del metadata[key]
    except Exception:  # it is no XML; without it there is no claim
        del document.Root.Metadata

"""PDFs are opened by both libraries, whichever of them has to repair what the other refuses."""

import io
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest

from services.ocr.documents import PDF, count_pages, open_pdf, open_structure, rasterise_pdf_page
from services.ocr.refusals import (
    EmptyDocument,
    EncryptedDocument,
    EncryptedForCertificate,
    TooManyPages,
    UnreadableDocument,
)
from tests import pictures

MANY = 10**9
"""Pixels: no bound."""


def test_bounds_of_pages(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "two.pdf", pictures.scanned_pdf([pictures.page(dpi=20)] * 2))
    assert count_pages(source, PDF, 2) == 2
    with pytest.raises(TooManyPages, match="2 pages; at most 1"):
        count_pages(source, PDF, 1)
    with pytest.raises(EmptyDocument):
        count_pages(pictures.write(tmp_path, "empty", b""), PDF, 2)
    with pytest.raises(UnreadableDocument):
        count_pages(source, "image/png", 2)


def test_a_pdf_page_is_drawn_with_as_many_dots_as_may_be(tmp_path: Path) -> None:
    page = pypdfium2.PdfDocument(pictures.text_pdf("x"))[0]  # 612 × 792 points
    full = rasterise_pdf_page(page, 144, MANY, tmp_path / "full.ppm")
    assert (full.width, full.height, full.dpi) == (1224, 1584, 144)
    less = rasterise_pdf_page(page, 144, 612 * 792, tmp_path / "less.ppm")
    assert (less.width, less.height, less.dpi) == (612, 792, 72)


def saved(document: pikepdf.Pdf, folder: Path, **options: Any) -> Path:
    buffer = io.BytesIO()
    document.save(buffer, **options)
    return pictures.write(folder, "source.pdf", buffer.getvalue())


def without_size(folder: Path) -> Path:
    """A PDF whose trailer does not say how many objects there are."""
    with pikepdf.open(io.BytesIO(pictures.text_pdf("kept"))) as document:
        path = saved(document, folder, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    content = path.read_bytes()
    assert content.count(b"/Size") == 1
    before, _, after = content.partition(b"/Size ")
    path.write_bytes(before + b"/Sise " + after)
    return path


def test_what_is_written_needs_no_repair(tmp_path: Path) -> None:
    result = tmp_path / "result.pdf"
    with open_structure(without_size(tmp_path)) as document:
        document.save(result, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    with pikepdf.open(result, attempt_recovery=False) as written:
        assert len(written.pages) == 1


def test_a_tree_of_pages_that_one_library_refuses_is_put_right(tmp_path: Path) -> None:
    with pikepdf.open(io.BytesIO(pictures.scanned_pdf([pictures.page(dpi=20)] * 2))) as document:
        empty = document.make_indirect(
            pikepdf.Dictionary(Type=pikepdf.Name.Pages, Kids=[], Count=0, Parent=document.Root.Pages)
        )
        document.Root.Pages.Kids = pikepdf.Array([empty, *document.Root.Pages.Kids, empty, empty])
        source = saved(document, tmp_path)
    with pytest.raises(pikepdf.PdfError), pikepdf.open(source) as document:
        len(document.pages)
    assert count_pages(source, PDF, 9) == 2


def test_without_pages_it_is_empty_and_not_damaged(tmp_path: Path) -> None:
    with pikepdf.new() as document:
        source = saved(document, tmp_path)
    with pytest.raises(EmptyDocument, match="no pages"):
        count_pages(source, PDF, 9)


def test_whoever_it_is_encrypted_for_it_is_encrypted(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source.pdf", pictures.encrypted_pdf())
    with pytest.raises(EncryptedDocument):
        count_pages(source, PDF, 9)
    with pikepdf.open(io.BytesIO(pictures.text_pdf("x"))) as document:
        saved(document, tmp_path, encryption=pikepdf.Encryption(user="", owner="o"))
    assert count_pages(source, PDF, 9) == 1, "anybody may open it"
    source.write_bytes(source.read_bytes().replace(b"/Filter /Standard", b"/Filter /AdobePKI"))
    with pytest.raises(EncryptedForCertificate):
        count_pages(source, PDF, 9)


def test_no_message_has_a_path_or_a_word_of_a_library(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source.pdf", b"%PDF-1.7\ngarbage")
    with pytest.raises(UnreadableDocument) as refused:
        count_pages(source, PDF, 9)
    assert str(refused.value) == str(UnreadableDocument())


def test_the_other_library_can_write_it_too(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "source.pdf", pictures.scanned_pdf([pictures.page(dpi=20)] * 3))
    with open_structure(source, rewritten=True) as document, open_pdf(source) as shown:
        assert len(document.pages) == len(shown) == 3

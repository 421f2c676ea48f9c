"""Pages are taken out of a document with all that belongs to them."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name, OutlineItem

from services.ocr.page_selection import keep_pages
from tests import pictures
from tests.drawn_pdf import saved
from tests.integration.services.ocr.hostile import endless_outline_pdf

PAGES = 4


def chapters() -> pikepdf.Pdf:
    """Four scanned pages, i ii 1 2, with an entry in the outline each, links, names, tags and a form."""
    scanned = pictures.scanned_pdf([pictures.page([f"Page {number}"], dpi=20) for number in range(PAGES)])
    document = pikepdf.open(io.BytesIO(scanned))
    sheets = [page.obj for page in document.pages]
    roman = Dictionary(S=Name.r)
    document.Root.PageLabels = Dictionary(Nums=Array([0, roman, 2, Dictionary(S=Name.D)]))
    document.Root.Names = Dictionary(
        Dests=Dictionary(Names=Array([entry for number, sheet in enumerate(sheets)
                                      for entry in (f"name{number}", Array([sheet, Name.Fit]))]))
    )  # fmt: skip
    with document.open_outline() as outline:
        first = OutlineItem("Chapter 0", 0)
        first.children.append(OutlineItem("Chapter 1", 1))
        outline.root += [first, OutlineItem("Chapter 2", 2), OutlineItem("Chapter 3", pikepdf.String("name3"))]
    for sheet in sheets:
        links = [
            Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([0, 0, 9, 9]), Dest=Array([other, Name.Fit]))
            for other in sheets
        ]
        named = Dictionary(
            Type=Name.Annot, Subtype=Name.Link, Rect=Array([0, 0, 9, 9]), A=Dictionary(S=Name.GoTo, D="name3")
        )
        sheet.Annots = Array([*links, named])
    _add_form(document, sheets)
    _add_tags(document, sheets)
    document.Root.OpenAction = Array([sheets[0], Name.Fit])
    return document


def _add_form(document: pikepdf.Pdf, sheets: Sequence[pikepdf.Object]) -> None:
    fields = []
    for number, sheet in enumerate(sheets):
        field = document.make_indirect(
            Dictionary(
                Subtype=Name.Widget,
                Rect=Array([0, 0, 9, 9]),
                FT=Name.Tx,
                T=f"f{number}",
                V=f"secret{number}",
                P=sheet,
            )
        )
        sheet.Annots.append(field)
        fields.append(field)
    document.Root.AcroForm = Dictionary(Fields=Array(fields))


def _add_tags(document: pikepdf.Pdf, sheets: Sequence[pikepdf.Object]) -> None:
    tree = document.make_indirect(Dictionary(Type=Name.StructTreeRoot))
    tags = [
        document.make_indirect(
            Dictionary(Type=Name.StructElem, S=Name.P, P=tree, Pg=sheet, K=0, ActualText=f"tag{at}")
        )
        for at, sheet in enumerate(sheets)
    ]
    tree.K = Array(tags)
    tree.ParentTree = Dictionary(
        Nums=Array([entry for at, tag in enumerate(tags) for entry in (at, Array([tag]))])
    )
    document.Root.StructTreeRoot = tree


@contextmanager
def kept(*wanted: int) -> Iterator[tuple[pikepdf.Pdf, bytes]]:
    """The document with those pages, as it is read again, and its bytes."""
    with chapters() as document:
        keep_pages(document, wanted)
        content = saved(document, compress_streams=False, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    with pikepdf.open(io.BytesIO(content)) as document:
        yield document, content


@pytest.mark.parametrize("wanted", [(2, 3), (1,), (4,), (1, 4)])
def test_nothing_of_other_pages_is_in_the_file(wanted: tuple[int, ...]) -> None:
    with kept(*wanted) as (document, content):
        assert len(document.pages) == len(wanted)
        assert content.count(b"/Subtype /Image") == len(wanted)
        for number in range(1, PAGES + 1):
            here = number in wanted
            assert (f"secret{number - 1}".encode() in content) is here
            assert (f"tag{number - 1}".encode() in content) is here
        assert ("/OpenAction" in document.Root) is (1 in wanted)


def test_outline_links_and_labels_lead_to_pages_that_are_there() -> None:
    with kept(2, 3) as (document, content):
        with document.open_outline() as outline:
            (first, second) = outline.root
            assert [first.title, [child.title for child in first.children], second.title] == [
                "Chapter 0", ["Chapter 1"], "Chapter 2"]  # fmt: skip
            assert first.destination is None
        sheets = {page.obj.objgen for page in document.pages}
        for page in document.pages:
            links = [one for one in page.Annots if one.Subtype == Name.Link]
            assert {link.Dest[0].objgen for link in links} == sheets
        assert [page.label for page in document.pages] == ["ii", "1"]
        assert set(pikepdf.NameTree(document.Root.Names.Dests)) == {"name1", "name2"}
    assert len(list(pypdfium2.PdfDocument(content).get_toc())) == 3


def test_the_labels_of_pages_far_apart_are_their_own() -> None:
    with kept(1, 2, 4) as (document, _):
        assert [page.label for page in document.pages] == ["i", "ii", "2"]


def test_a_document_without_any_of_it_keeps_its_pages() -> None:
    scanned = pictures.scanned_pdf([pictures.page(dpi=20)] * 3)
    with pikepdf.open(io.BytesIO(scanned)) as document:
        keep_pages(document, [3])
        assert len(document.pages) == 1
        assert set(document.Root.keys()) == {"/Type", "/Pages"}


def test_an_outline_that_goes_round_ends() -> None:
    with pikepdf.open(io.BytesIO(endless_outline_pdf())) as document:
        document.add_blank_page()
        keep_pages(document, [2])
        assert len(document.pages) == 1

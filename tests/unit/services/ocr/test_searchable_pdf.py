"""The searchable PDF has the recognised words where they are seen, and says what it does not keep."""

import io
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name

from libs.common.contracts.ocr import Page, Source
from services.ocr.documents import open_structure
from services.ocr.page_reading import PageFiles
from services.ocr.searchable_pdf import write_searchable
from tests import pictures
from tests.drawn_pdf import HEIGHT, WIDTH, Change, drawn_pdf, layer, saved, scan, text, whole_page

HERE = ("Lighthouse", 100.0, 500.0)
"""A recognised word, and where it is in points."""


def written(
    folder: Path,
    content: bytes,
    *,
    source: Source = "ocr",
    recognised: bool = True,
    turned: int = 0,
    rotate: bool = False,
) -> tuple[bytes, list[str]]:
    """The searchable PDF of a document of one page, of which one word was recognised, and its warnings."""
    files = PageFiles(folder, 1)
    sheet = pypdfium2.PdfDocument(content)[0]
    width, height = sheet.get_size()
    page = Page(number=1, width=10, height=10, dpi=72, source=source, confidence=None, rotation=turned, blocks=[])
    files.path(".json").write_text(page.model_dump_json())
    if recognised:
        with pikepdf.open(io.BytesIO(drawn_pdf(text(*HERE, 20, mode=3)))) as one:
            one.pages[0].MediaBox = Array([0, 0, width, height])
            one.save(files.path(".pdf"))
    path = folder / "document.pdf"
    with open_structure(pictures.write(folder, "source", content)) as document:
        warnings = write_searchable(document, [files], path, rotate=rotate)
    return path.read_bytes(), warnings


def place_of(content: bytes, word: str) -> tuple[float, float]:
    """The lower left corner of the word."""
    textpage = pypdfium2.PdfDocument(content)[0].get_textpage()
    left, bottom, _, _ = textpage.get_charbox(textpage.get_text_range().index(word))
    return left, bottom


@pytest.mark.parametrize(
    "content",
    [
        whole_page(),
        "0.24 0 0 0.24 0 0 cm q 2550 0 0 3300 0 0 cm /Scan Do Q",
        "q q 0.5 0 0 0.5 9 9 cm " + whole_page(),
        "Q Q " + whole_page() + "Q Q Q",
        whole_page() + "BT /F1 9 Tf 3 Tr",
    ],
    ids=["plain", "scaled", "open", "closed too often", "text left open"],
)
def test_words_lie_on_the_picture_whatever_state_the_page_leaves(tmp_path: Path, content: str) -> None:
    result, _ = written(tmp_path, drawn_pdf(content, {"Scan": scan()}))
    assert place_of(result, "Lighthouse") == pytest.approx(HERE[1:], abs=2)


def test_the_page_is_what_is_shown_of_it(tmp_path: Path) -> None:
    """A CropBox that is larger than the MediaBox, and has its corners the wrong way round, shows no more."""

    def larger(_document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
        sheet.CropBox = Array([WIDTH + 300, HEIGHT + 100, -200, -50])

    result, _ = written(tmp_path, drawn_pdf(whole_page(), {"Scan": scan()}, larger))
    assert place_of(result, "Lighthouse") == pytest.approx(HERE[1:], abs=2)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("own", [None, 0, 90, 270, -90, 450, 45, "x"])
def test_a_turned_page_is_upright_if_that_is_wanted(tmp_path: Path, own: object, turned: int) -> None:
    """From how the file shows it, which it may say for all pages; a wrong angle counts as none."""

    def lie(document: pikepdf.Pdf, _sheet: pikepdf.Page) -> None:
        if own is not None:
            document.Root.Pages.Rotate = own

    content = drawn_pdf(whole_page(), {"Scan": scan()}, lie)
    shown = pypdfium2.PdfDocument(content)[0].get_rotation()
    kept, upright = (written(tmp_path, content, turned=turned, rotate=rotate)[0] for rotate in (False, True))
    assert pypdfium2.PdfDocument(kept)[0].get_rotation() == shown
    assert pypdfium2.PdfDocument(upright)[0].get_rotation() == (shown - turned) % 360
    assert place_of(kept, "Lighthouse") == pytest.approx(place_of(upright, "Lighthouse"))


@pytest.mark.parametrize(("source", "left"), [("ocr", 0), ("mixed", 1)])
def test_an_old_layer_goes_when_the_page_was_read_anew(tmp_path: Path, source: Source, left: int) -> None:
    result, _ = written(tmp_path, drawn_pdf(whole_page() + layer(0, 1), {"Scan": scan()}), source=source)
    found = pypdfium2.PdfDocument(result)[0].get_textpage().get_text_range()
    assert (found.count("quick"), found.count("Lighthouse")) == (left, 1)


def with_metadata(claim: str) -> Change:
    def change(document: pikepdf.Pdf, _sheet: pikepdf.Page) -> None:
        with document.open_metadata() as metadata:
            metadata["dc:title"] = "A title"
            if claim:
                metadata["pdfaid:part"], metadata["pdfaid:conformance"] = claim[0], claim[1]

    return change


def status_of(content: bytes) -> tuple[str, str]:
    with pikepdf.open(io.BytesIO(content)) as document, document.open_metadata() as metadata:
        return metadata.pdfa_status, metadata["dc:title"]


def test_a_claim_of_pdfa_goes_with_the_change_and_stays_without(tmp_path: Path) -> None:
    content = drawn_pdf(text("Typed", 72, 700), change=with_metadata("1B"))
    assert status_of(content) == ("1B", "A title")
    changed, warnings = written(tmp_path, content)
    assert (status_of(changed), warnings) == (("", "A title"), ["pdfa_claim_removed"])
    (tmp_path / "same").mkdir()
    same, warnings = written(tmp_path / "same", content, recognised=False)
    assert (status_of(same), warnings) == (("1B", "A title"), [])
    assert b"/ObjStm" not in same
    assert written(tmp_path, drawn_pdf("", change=with_metadata("")))[1] == []


def test_a_signature_is_said_to_be_lost(tmp_path: Path) -> None:
    def signed(document: pikepdf.Pdf, _sheet: pikepdf.Page) -> None:
        value = Dictionary(
            Type=Name.Sig, Filter=Name("/Adobe.PPKLite"), ByteRange=Array([0, 1, 2, 3]), Contents=b"x"
        )
        field = document.make_indirect(Dictionary(FT=Name.Sig, T="signature", V=value))
        group = document.make_indirect(Dictionary(T="group", Kids=Array([field])))
        document.Root.AcroForm = Dictionary(Fields=Array([group]), SigFlags=3)

    assert written(tmp_path, drawn_pdf("", change=signed))[1] == ["signature_lost"]


def test_encryption_and_permissions_stay(tmp_path: Path) -> None:
    with pikepdf.open(io.BytesIO(drawn_pdf(whole_page(), {"Scan": scan()}))) as document:
        allowed = pikepdf.Permissions(print_highres=False, extract=False)
        content = saved(document, encryption=pikepdf.Encryption(owner="owner", user="", allow=allowed))
    result, warnings = written(tmp_path, content)
    assert warnings == []
    with pikepdf.open(io.BytesIO(result)) as document:
        assert document.is_encrypted
        assert (document.allow.print_highres, document.allow.extract) == (False, False)
    assert place_of(result, "Lighthouse") == pytest.approx(HERE[1:], abs=2)


def test_the_font_of_the_layers_is_there_once(tmp_path: Path) -> None:
    pages = [PageFiles(tmp_path, number) for number in (1, 2, 3)]
    for files in pages:
        page = Page(number=files.number, width=10, height=10, dpi=72, source="ocr", confidence=None, blocks=[])
        files.path(".json").write_text(page.model_dump_json())
        files.path(".pdf").write_bytes(drawn_pdf(text("Lighthouse", 100, 500, mode=3), change=with_own_font))
    scans = pictures.scanned_pdf([pictures.page(dpi=20)] * 3)
    with open_structure(pictures.write(tmp_path, "source", scans)) as document:
        write_searchable(document, pages, tmp_path / "document.pdf")
    with pikepdf.open(tmp_path / "document.pdf") as document:
        fonts = [item for item in document.objects if isinstance(item, Dictionary) and "/FontFile2" in item]
    assert len(fonts) == 1


def with_own_font(document: pikepdf.Pdf, sheet: pikepdf.Page) -> None:
    """A font with its letters, built as Tesseract's."""
    letters, places, meanings = (document.make_stream(content) for content in (b"letters", b"places", b"meanings"))
    descendant = Dictionary(
        Type=Name.Font,
        Subtype=Name.CIDFontType2,
        CIDToGIDMap=places,
        FontDescriptor=document.make_indirect(Dictionary(Type=Name.FontDescriptor, FontFile2=letters)),
    )
    sheet.Resources.Font.F1.DescendantFonts = Array([document.make_indirect(descendant)])
    sheet.Resources.Font.F1.ToUnicode = meanings

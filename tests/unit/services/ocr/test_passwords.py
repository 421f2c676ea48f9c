"""Encrypted PDFs are opened with their password, however it was written down, and what is made of them is too."""

import io
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from libs.common.contracts.ocr import OcrOptions
from services.ocr.assembly import assemble
from services.ocr.documents import PDF, count_pages, open_pdf, open_structure
from services.ocr.page_reading import PageFiles, Task, prepare_page
from services.ocr.passwords import unlocked
from services.ocr.refusals import EncryptedDocument, WrongPassword
from services.ocr.tesseract import Engine
from tests import pictures

ENGINE = Engine("tesseract", Path("/nowhere"), Path("/nowhere"), "5")
ALLOWED = pikepdf.Permissions(extract=False, print_highres=False)
CIPHERS: dict[str, dict[str, Any]] = {
    "RC4-40": {"R": 2, "aes": False, "metadata": False},
    "RC4-128": {"R": 3, "aes": False, "metadata": False},
    "RC4-128 of PDF 1.5": {"R": 4, "aes": False, "metadata": False},
    "AES-128": {"R": 4},
    "AES-128 but for metadata": {"R": 4, "metadata": False},
    "AES-256 of Acrobat 9": {"R": 5},
    "AES-256": {"R": 6},
    "AES-256 but for metadata": {"R": 6, "metadata": False},
}


def encrypted(folder: Path, user: str, owner: str, *, pages: int = 1, **options: Any) -> Path:
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(pictures.text_pdf("kept secret"))) as document:
        for _ in range(pages - 1):
            document.pages.append(document.pages[0])
        how = pikepdf.Encryption(user=user, owner=owner, allow=ALLOWED, **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Encryption R=5 is deprecated")
            document.save(buffer, encryption=how)
    return pictures.write(folder, "source.pdf", buffer.getvalue())


def text_of(path: Path, password: str | None) -> str:
    with open_pdf(path, password) as document:
        return str(document[0].get_textpage().get_text_bounded()).strip()


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(("user", "owner"), [("one", "two"), ("grün ß", "über €"), ("", "two")])
def test_both_passwords_open_it_and_the_copy(tmp_path: Path, cipher: str, user: str, owner: str) -> None:
    source, copy = encrypted(tmp_path, user, owner, **CIPHERS[cipher]), tmp_path / "copy.pdf"
    for password in (user, owner, unicodedata.normalize("NFD", user)):
        assert count_pages(source, PDF, 9, password) == 1
        assert text_of(source, password) == "kept secret"
        with open_structure(source, password) as document:
            document.save(copy, encryption=document.is_encrypted)
        assert text_of(copy, user) == text_of(copy, owner) == "kept secret"
        with unlocked(copy, password) as written, unlocked(source, password) as original:
            assert (written.encryption.R, written.allow) == (original.encryption.R, original.allow)
    if user:
        with pytest.raises(WrongPassword):
            count_pages(source, PDF, 9, "three")
        with pytest.raises(EncryptedDocument):
            count_pages(source, PDF, 9)
    else:
        assert count_pages(source, PDF, 9, "three") == count_pages(source, PDF, 9) == 1


@pytest.mark.parametrize("password", ["密码", "пароль", "🔑", "x" * 127, " ", "e\u0301"])
def test_a_password_may_be_any_text(tmp_path: Path, password: str) -> None:
    source = encrypted(tmp_path, password, "")
    assert text_of(source, password) == "kept secret"


@pytest.mark.parametrize(("same_bytes", "typed"), [("grün •", "grün €"), ("caf”", "café")])
def test_older_writers_had_their_systems_encoding(tmp_path: Path, same_bytes: str, typed: str) -> None:
    """What is written down as PDFDocEncoding are the bytes of another text in cp1252 or Mac OS Roman."""
    source = encrypted(tmp_path, same_bytes, "two", R=4)
    assert text_of(source, typed) == "kept secret"


def test_a_password_that_is_not_needed_is_ignored(tmp_path: Path) -> None:
    source = pictures.write(tmp_path, "plain.pdf", pictures.text_pdf("plain"))
    assert count_pages(source, PDF, 9, "one") == 1
    assert text_of(source, "one") == "plain"
    with open_structure(source, "one") as document:
        assert not document.is_encrypted


@pytest.mark.parametrize("password", ["one", "two"])
def test_what_the_other_library_writes_is_protected_too(tmp_path: Path, password: str) -> None:
    source, copy = encrypted(tmp_path, "one", "two"), tmp_path / "copy.pdf"
    with open_structure(source, password, rewritten=True) as document:
        document.save(copy, encryption=document.is_encrypted)
    assert text_of(copy, password) == "kept secret"
    with pytest.raises(EncryptedDocument):
        text_of(copy, None)
    with unlocked(copy, password) as written:
        assert written.allow == ALLOWED


def test_what_anybody_may_open_stays_so(tmp_path: Path) -> None:
    source, copy = encrypted(tmp_path, "", "two"), tmp_path / "copy.pdf"
    with open_structure(source, "needless", rewritten=True) as document:
        document.save(copy, encryption=document.is_encrypted)
    assert text_of(copy, None) == "kept secret"
    with unlocked(copy, None) as written:
        assert written.allow == ALLOWED


def test_a_tree_of_pages_that_qpdf_refuses_stays_protected(tmp_path: Path) -> None:
    buffer, copy = io.BytesIO(), tmp_path / "copy.pdf"
    with pikepdf.open(io.BytesIO(pictures.text_pdf("kept secret"))) as document:
        empty = document.make_indirect(
            pikepdf.Dictionary(Type=pikepdf.Name.Pages, Kids=[], Count=0, Parent=document.Root.Pages)
        )
        document.Root.Pages.Kids = pikepdf.Array([empty, *document.Root.Pages.Kids, empty])
        document.save(buffer, encryption=pikepdf.Encryption(user="one", owner="two", allow=ALLOWED))
    source = pictures.write(tmp_path, "source.pdf", buffer.getvalue())
    assert count_pages(source, PDF, 9, "one") == 1
    with open_structure(source, "one") as document:
        document.save(copy, encryption=document.is_encrypted)
    assert text_of(copy, "two") == "kept secret"
    with pytest.raises(EncryptedDocument):
        text_of(copy, None)


def attachments_alone(folder: Path) -> Path:
    """A PDF of which only attachments are encrypted, as PDF 1.6 allows."""
    with unlocked(encrypted(folder, "one", "two", R=4), "one") as document:
        document.save(folder / "plain.pdf", object_stream_mode=pikepdf.ObjectStreamMode.disable)
        how = document.trailer.Encrypt
        numbers = {key: int(how[key]) for key in ("/P", "/V", "/R", "/Length")}
        keys = {key: bytes(how[key]).hex() for key in ("/O", "/U")}
        first = bytes(document.trailer.ID[0]).hex()
    made = " ".join([f"{key} {value}" for key, value in numbers.items()] + [f"{k} <{v}>" for k, v in keys.items()])
    filters = (
        "/CF <</StdCF <</AuthEvent /EFOpen /CFM /AESV2 /Length 16>>>> /StmF /Identity /StrF /Identity /EFF /StdCF"
    )
    content = (folder / "plain.pdf").read_bytes()
    before, trailer, after = content.rpartition(b"trailer <<")
    told = f" /Encrypt <</Filter /Standard {made} {filters}>> /ID [<{first}><{first}>] ".encode()
    return pictures.write(folder, "attachments.pdf", before + trailer + told + after)


def test_of_attachments_alone(tmp_path: Path) -> None:
    """Viewers show the pages without a password, but a copy could not be as protected as the original."""
    source = attachments_alone(tmp_path)
    assert text_of(source, "one") == "kept secret"
    assert count_pages(source, PDF, 9, "one") == 1
    with pytest.raises(EncryptedDocument):
        count_pages(source, PDF, 9)
    with pytest.raises(WrongPassword):
        count_pages(source, PDF, 9, "three")


def test_document_pdf_is_as_protected_as_its_original(tmp_path: Path) -> None:
    source = encrypted(tmp_path, "one", "two", pages=2)
    for number in (1, 2):
        task = Task(source, PDF, OcrOptions(), ENGINE, "eng", 4_000_000, 1.0, "one")
        assert prepare_page(task, PageFiles(tmp_path, number), 100).summary is not None
    assert assemble(source, PDF, tmp_path, [1, 2], password="one").differing == ()  # noqa: S106
    result = tmp_path / "document.pdf"
    assert text_of(result, "one") == text_of(result, "two") == "kept secret"
    with pytest.raises(EncryptedDocument):
        text_of(result, None)
    with unlocked(result, "one") as written:
        assert written.allow == ALLOWED
    written_files = [path for path in tmp_path.iterdir() if path.suffix in (".txt", ".json", ".hocr", ".tsv")]
    assert all(b"one" not in path.read_bytes() for path in written_files)


def test_it_is_in_no_text_about_the_task() -> None:
    assert "hush" not in repr(Task(Path("x"), PDF, OcrOptions(), ENGINE, "eng", 1, 1.0, "hush"))

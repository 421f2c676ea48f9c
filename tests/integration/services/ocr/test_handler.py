"""A document from the job to its artifacts: its pages, its progress, its refusals."""

import asyncio
import io
import os
from dataclasses import replace
from pathlib import Path

import pikepdf
import psutil
import pypdfium2
import pytest

from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.contracts.ocr import OcrOptions, OcrPayload
from libs.common.errors import StorageUnavailable
from libs.common.handler_testkit import run_inline
from libs.common.ledger.flows import Child
from libs.common.ledger.jobs import State, new_id
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.seccomp import network_is_closed
from libs.common.worker.job import Job
from services import mailer
from services.ocr import refusals
from services.ocr.handler import handle
from services.ocr.refusals import PageCrashed
from services.ocr.source_cache import SourceCache
from tests import pictures
from tests.integration.services.ocr.conftest import Reader
from tests.integration.services.ocr.read_words import committed
from tests.pictures import word_f1
from tests.polling import until


async def test_a_sandboxed_process_can_answer_only_with_what_it_should(reader: Reader) -> None:
    with pytest.raises(PageCrashed):
        await reader.deps.sandbox.run(an_answer_that_runs_something)


def an_answer_that_runs_something() -> object:
    return Exploding()


class Exploding:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 0",)


async def test_pages_of_a_tiff_and_progress(reader: Reader) -> None:
    pages = [pictures.page([f"Page number {name} stands here."]) for name in ("one", "two", "three")]
    content = pictures.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    reader.progress.clear()
    done = await reader.read(content)
    texts = (await reader.text(done)).split("\f")
    assert [name in text for name, text in zip(("one", "two", "three"), texts, strict=False)] == [True] * 3
    assert [step["done"] for step in reader.progress] == [1, 2, 3, 3]
    assert {step["total"] for step in reader.progress} == {3}
    with pikepdf.open(io.BytesIO(await reader.artifact(done, "document.pdf"))) as document:
        assert len(document.pages) == 3


async def test_only_the_pages_asked_for(reader: Reader) -> None:
    names = ("one", "two", "three", "four")
    content = pictures.scanned_pdf([pictures.page([f"Page number {name} stands here."]) for name in names])
    done = await reader.read(content, pages="4,2")
    text = await reader.text(done)
    assert text.index("two") < text.index("four")
    assert "one" not in text
    assert [page["number"] for page in await reader.words(done)] == [2, 4]
    document = pypdfium2.PdfDocument(await reader.artifact(done, "document.pdf"))
    assert ["two" in page.get_textpage().get_text_range() for page in document] == [True, False]


async def test_a_language_that_is_not_installed_is_refused_with_those_that_are(reader: Reader) -> None:
    with pytest.raises(refusals.LanguageNotInstalled, match=r"Not installed: tlh\. Installed: .*eng"):
        await reader.read(pictures.text_pdf("x"), languages=["eng", "tlh"])


async def test_a_missing_page_and_a_missing_upload_are_refused(reader: Reader) -> None:
    with pytest.raises(refusals.NoSuchPage):
        await reader.read(pictures.text_pdf("x"), pages="2")
    payload = OcrPayload(source="nowhere", filename="f", media_type="image/png", options=OcrOptions())
    with pytest.raises(refusals.SourceMissing):
        await run_inline(handle, payload, reader.deps)


async def test_a_store_that_is_away_is_an_outage_at_every_step(reader: Reader, tmp_path: Path) -> None:
    """When the upload is fetched, a page known from before, and the parts of the pages."""
    content = pictures.encoded(pictures.page(["Known before the outage."]), "PNG")
    await committed(reader, await reader.read(content))
    away = Blobs(BlobSettings.model_validate({"blob_url": (tmp_path / "away").as_uri()}))
    (tmp_path / "away").rmdir()
    without_upload = replace(reader.deps, sources=SourceCache(away, tmp_path))
    with pytest.raises(StorageUnavailable):
        await Reader(without_upload, reader.blobs).read(content)
    without_cache = replace(reader.deps, blobs=away)
    with pytest.raises(StorageUnavailable):
        await Reader(without_cache, reader.blobs).read(content)
    payload = OcrPayload(source="upload/kept", filename="f", media_type="image/png", options=OcrOptions())
    (tmp_path / "kept").write_bytes(content)
    await reader.blobs.write_file("upload/kept", tmp_path / "kept")
    job = Job(new_id(), 2, "test", "document", payload, lambda _progress: None)
    part = {"key": "part", "name": "page.txt"}
    job.children = tuple(Child(new_id(), State.SUCCEEDED, {"page": page}, {}, [part], None) for page in (1, 2))
    with pytest.raises(StorageUnavailable):
        await handle(job, without_cache)


async def test_cancelling_ends_the_processes_of_the_pages(reader: Reader) -> None:
    reading = asyncio.create_task(reader.read(pictures.scanned_pdf([pictures.page(dpi=300)] * 6, dpi=300)))
    await until(engines)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not await engines()


async def engines() -> bool:
    """Whether Tesseract runs for this process."""
    try:
        return any("tesseract" in child.name() for child in psutil.Process().children(recursive=True))
    except psutil.NoSuchProcess:
        return False


async def test_real_scans(reader: Reader, scans: Path) -> None:
    done = await reader.read((scans / "linn.png").read_bytes())
    assert word_f1(await reader.text(done), (scans / "linn.txt").read_text()) >= 0.95
    done = await reader.read((scans / "multipage.pdf").read_bytes())
    assert done.result["pages"] == 6


async def test_a_document_that_fills_its_folder_is_refused_and_leaves_nothing(reader: Reader) -> None:
    limits = Limits(1 << 30, 60.0, folder_bytes=1 << 20)  # the page's image alone takes twice that
    refuses = Refusals(refusals.PageTimeout, refusals.OutOfMemory, PageCrashed, refusals.ScratchFolderFull)
    sandbox = Sandbox(limits, refuses, package="services.ocr", preload=[])
    small = Reader(replace(reader.deps, sandbox=sandbox.reading(reader.deps.engine.models)), reader.blobs)
    with pytest.raises(refusals.ScratchFolderFull):
        await small.read(pictures.encoded(pictures.page(), "PDF", resolution=150))
    assert not [path for path in reader.deps.folder.iterdir() if path.is_dir()]


async def test_a_page_reaches_neither_other_documents_nor_other_services(reader: Reader) -> None:
    """Its own document is in its reach; the one beside it, which another tenant sent, is not."""
    own, others = reader.deps.folder / "own", reader.deps.folder / "others"
    own.write_text("own")
    others.write_text("others")
    sandbox = reader.deps.sandbox.reading(own)
    assert await sandbox.run(Path.read_text, own) == "own"
    with pytest.raises(PageCrashed, match="PermissionError"):
        await sandbox.run(Path.read_text, others)
    with pytest.raises(PageCrashed, match="PermissionError"):
        await sandbox.run(Path.read_text, Path(mailer.__file__))


async def test_no_network_in_the_sandbox(reader: Reader) -> None:
    assert await reader.deps.sandbox.run(network_is_closed)
    assert not network_is_closed()


async def test_a_page_has_a_total_of_one(reader: Reader) -> None:
    reader.progress.clear()
    await reader.read(pictures.encoded(pictures.page(["One page stands here."]), "PNG"))
    assert [(step["done"], step["total"]) for step in reader.progress] == [(0, 1), (1, 1)]

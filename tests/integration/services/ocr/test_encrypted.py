"""Encrypted documents from the ledger to their artifacts, and what is left of their passwords."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

import pikepdf
import pypdfium2
import pytest

from libs.common import db
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.contracts.ocr import PASSWORDS, OcrOptions, OcrPayload
from libs.common.contracts.services import OCR
from libs.common.db import Database
from libs.common.handler_testkit import drain
from libs.common.ledger import flows, job_actions, jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import JobHistory, NewJob, new_id
from libs.common.sealing import Sealer
from services.ocr.handler import Deps, handle
from tests import pictures
from tests.integration.services.ocr.conftest import Reader

RIGHT = "grün ß"
SEALER = Sealer("s" * 32, PASSWORDS)


@dataclass
class Fleet:
    """The ledger as the gateway has it, and an OCR worker."""

    database: Database
    bus: Bus
    reader: Reader
    deps: Deps

    async def submit(self, content: bytes, password: str | None, sealer: Sealer = SEALER) -> UUID:
        async def chunks() -> AsyncIterator[bytes]:
            yield content

        job_id = new_id()
        source = f"upload/{job_id.hex}"
        await self.reader.blobs.write(source, chunks())
        payload = OcrPayload(source=source, filename="f", media_type="application/pdf", options=OcrOptions())
        secret = None if password is None else sealer.seal(password.encode(), "dev", job_id)
        job = NewJob("dev", "k", "ocr", "document", payload.model_dump_json().encode(), id=job_id, secret=secret)
        await accept(self.database, [job], ticketed=[False])
        return job_id

    async def work(self) -> None:
        """Until nothing is left to do. `drain` takes jobs without tickets only."""
        ran = 1
        while ran:
            await flows.wake(self.database)
            await self.database.fetch("UPDATE ledger.jobs SET ticketed_at = NULL WHERE state = 'queued'")
            ran = await drain(self.deps.database, self.bus, "ocr", OcrPayload, handle, self.deps)

    async def job(self, job_id: UUID) -> JobHistory:
        found = await jobs.find(self.database, "dev", job_id)
        assert found is not None
        return found

    async def document(self, job: JobHistory) -> bytes:
        (key,) = (one["key"] for one in job["artifacts"] or () if one["name"] == "document.pdf")
        return b"".join([chunk async for chunk in self.reader.blobs.read(key)])


@pytest.fixture
async def fleet(
    reader: Reader, database: Database, database_settings: DatabaseSettings, nats_bus: Bus
) -> AsyncIterator[Fleet]:
    async with db.connect(database_settings, "ocr", role=OCR.role) as as_worker:
        deps = replace(reader.deps, database=as_worker, passwords=SEALER)
        yield Fleet(database, nats_bus, reader, deps)


def encrypted(pages: int) -> bytes:
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(pictures.scanned_pdf([pictures.page(dpi=100)] * pages, dpi=100))) as document:
        how = pikepdf.Encryption(user=RIGHT, owner="two", allow=pikepdf.Permissions(extract=False))
        document.save(buffer, encryption=how)
    return buffer.getvalue()


async def test_they_are_read_and_stay_encrypted_and_the_password_goes(fleet: Fleet) -> None:
    short, long = await fleet.submit(encrypted(1), RIGHT), await fleet.submit(encrypted(2), "two")
    refused = {
        await fleet.submit(encrypted(1), None): "encrypted_document",
        await fleet.submit(encrypted(2), "three"): "wrong_password",
        await fleet.submit(encrypted(1), RIGHT, Sealer("t" * 32, PASSWORDS)): "password_lost",
    }
    await fleet.work()
    for job_id, pages in ((short, 1), (long, 2)):
        job = await fleet.job(job_id)
        assert (job["state"], job["errors"]) == ("succeeded", None)
        document = await fleet.document(job)
        with pytest.raises(pypdfium2.PdfiumError):
            pypdfium2.PdfDocument(document)
        shown = pypdfium2.PdfDocument(document, RIGHT)
        assert len(shown) == pages
        assert "five dozen liquor jugs" in shown[0].get_textpage().get_text_bounded()
        with pikepdf.open(io.BytesIO(document), password="two") as opened:  # noqa: S106
            assert not opened.allow.extract
    for job_id, code in refused.items():
        job = await fleet.job(job_id)
        assert [error["code"] for error in job["errors"] or ()] == [code], "one attempt"
    assert await job_actions.retry(fleet.database, "dev", list(refused)[1])
    await fleet.work()
    wrong = await fleet.job(list(refused)[1])
    assert [error["code"] for error in wrong["errors"] or ()] == ["wrong_password", "encrypted_document"]
    secret = SEALER.seal(RIGHT.encode(), "dev", wrong["id"])
    assert await job_actions.retry(fleet.database, "dev", wrong["id"], secret=secret)
    await fleet.work()
    assert (await fleet.job(wrong["id"]))["state"] == "succeeded"
    assert [len(await flows.children_of(fleet.database, one)) for one in (long, wrong["id"])] == [2, 2]
    rows = await fleet.database.fetch("SELECT to_jsonb(j), secret FROM ledger.jobs j")
    assert {row[1] for row in rows} == {None}
    kept = json.dumps([row[0] for row in rows], ensure_ascii=False)
    assert RIGHT not in kept
    readings = await fleet.deps.database.fetch("SELECT to_jsonb(r) FROM ocr.readings r")
    assert readings
    assert RIGHT not in json.dumps([row[0] for row in readings], ensure_ascii=False)

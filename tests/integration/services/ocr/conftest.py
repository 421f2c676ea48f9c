"""The OCR handler without the fleet around it, on a database and a blob store of its own."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from deploy.local.test_servers import Trio
from libs.common import db
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.contracts.ocr import OcrOptions, OcrPayload
from libs.common.contracts.services import OCR
from libs.common.handler_testkit import run_inline
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Done
from libs.common.worker.service import Platform
from services.gateway.endpoints.uploads import media_type_of
from services.ocr.config import Settings
from services.ocr.handler import Deps, handle, resources
from services.ocr.tesseract import Kind, installed_engine


class Reader:
    """Hands documents to the handler, and what it wrote to the test."""

    def __init__(self, deps: Deps, blobs: Blobs) -> None:
        self.deps = deps
        self.blobs = blobs
        self.progress: list[dict[str, Any]] = []

    async def read(
        self, content: bytes, media_type: str | None = None, *, tenant: str = "test", **options: Any
    ) -> Done:
        async def chunks() -> AsyncIterator[bytes]:
            yield content

        key = f"upload/{new_id().hex}"
        await self.blobs.write(key, chunks())
        payload = OcrPayload(
            source=key,
            filename="f",
            media_type=media_type or media_type_of(content) or "application/pdf",
            options=OcrOptions(**options),
        )
        ran = await run_inline(handle, payload, self.deps, kind="document", tenant=tenant)
        self.progress = ran.progress
        return ran.done

    async def artifact(self, done: Done, name: str) -> bytes:
        (artifact,) = (artifact for artifact in done.artifacts if artifact.name == name)
        content = b"".join([chunk async for chunk in self.blobs.read(artifact.key)])
        assert len(content) == artifact.size
        return content

    async def with_engine(self, kind: Kind) -> "Reader":
        """The same, but read by that engine."""
        engine = installed_engine(kind)
        return Reader(replace(self.deps, engine=engine), self.blobs)

    async def text(self, done: Done) -> str:
        return (await self.artifact(done, "text.txt")).decode()

    async def words(self, done: Done) -> list[dict[str, Any]]:
        pages: list[dict[str, Any]] = json.loads(await self.artifact(done, "words.json"))["pages"]
        return pages


@pytest.fixture(scope="package")
async def reader(servers: Trio, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reader]:
    elsewhere = await asyncpg.connect(servers.postgres.url)
    await elsewhere.execute(f"CREATE DATABASE reading TEMPLATE {template}")
    await elsewhere.close()
    folder = tmp_path_factory.mktemp("blobs")
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    settings = Settings.model_validate(
        {
            "database_url": servers.postgres.url.rpartition("/")[0] + "/reading",
            "nats_url": "nats://x",
            "blob_url": "x",
            "ocr_max_page_pixels": 4_000_000,
            "ocr_max_pages": 20,
            "ocr_memory_mb": 1024,
            "ocr_page_timeout_s": 60,
        }
    )
    async with (
        db.connect(settings, "ocr", role=OCR.role) as database,
        resources(settings, Platform(database, blobs)) as deps,
    ):
        yield Reader(deps, blobs)

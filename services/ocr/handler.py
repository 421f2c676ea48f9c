"""The meaning of the OCR service. Read this first."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import insert

from libs.common import metrics
from libs.common.blobs import Blobs
from libs.common.contracts.ocr import OcrPayload
from libs.common.db import Connection
from libs.common.job import Artifact, Done, Effects, Job
from libs.common.service import Platform
from services.ocr import tesseract
from services.ocr.assembling import MEDIA_TYPES, assemble
from services.ocr.config import Settings
from services.ocr.documents import count_pages
from services.ocr.pages import PageFiles, PageSummary, read_page
from services.ocr.refusals import LanguageNotInstalled, NoSuchPage, SourceMissing
from services.ocr.sandbox import Limits, Sandbox
from services.ocr.tables import documents


@dataclass(frozen=True, slots=True)
class Deps:
    """What the handler needs."""

    settings: Settings
    blobs: Blobs
    sandbox: Sandbox
    places: asyncio.Semaphore
    """One for each page that may be read at once."""
    languages: frozenset[str]
    """Installed."""


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open what `handle` needs. Raises EngineFailed if there is no Tesseract."""
    limits = Limits(settings.ocr_memory_mb * 1024 * 1024, settings.ocr_page_timeout_s)
    sandbox = Sandbox(limits, preload=["services.ocr.pages", "services.ocr.assembling"])
    languages = frozenset(await sandbox.run(tesseract.installed_languages))
    yield Deps(settings, platform.blobs, sandbox, asyncio.Semaphore(settings.ocr_concurrency), languages)


async def handle(job: Job[OcrPayload], deps: Deps) -> Done:
    """Read a document, page by page, and store what was read."""
    payload = job.payload
    languages = _languages(payload, deps)
    with tempfile.TemporaryDirectory(prefix="argosy-ocr-") as name:
        folder = Path(name)
        source = folder / "source"
        try:
            await deps.blobs.read_file(payload.source, source)
        except FileNotFoundError:
            raise SourceMissing from None
        total = await deps.sandbox.run(count_pages, source, payload.media_type, deps.settings.ocr_max_pages)
        numbers = wanted_pages(payload.options.pages, total)
        summaries = await _read_pages(job, deps, source, numbers, languages)
        preview = await deps.sandbox.run(assemble, source, payload.media_type, folder, numbers, total)
        artifacts = [await _store(job, deps.blobs, folder, name) for name in MEDIA_TYPES]
    confidence = _mean_confidence(summaries)
    result = {"pages": len(summaries), "confidence": confidence, "language": languages, "preview": preview}
    return Done(result, tuple(artifacts), effects=_record(job.id, job.tenant, summaries, confidence))


def wanted_pages(pages: str | None, total: int) -> list[int]:
    """The page numbers that `pages` (such as `1-3,7`) names, in order. Raises NoSuchPage."""
    if pages is None:
        return list(range(1, total + 1))
    wanted: set[int] = set()
    for part in pages.split(","):
        first, _, last = part.partition("-")
        if int(last or first) > total:
            raise NoSuchPage(f"There is no page {last or first}: the document has {total}.")
        wanted.update(range(int(first), int(last or first) + 1))
    return sorted(wanted)


def _languages(payload: OcrPayload, deps: Deps) -> str:
    wanted = payload.options.languages or tuple(deps.settings.ocr_languages.split("+"))
    missing = [language for language in wanted if language not in deps.languages]
    if missing:
        there = ", ".join(sorted(deps.languages))
        raise LanguageNotInstalled(f"Not installed: {', '.join(missing)}. Installed: {there}.")
    return "+".join(wanted)


async def _read_pages(
    job: Job[OcrPayload], deps: Deps, source: Path, numbers: Sequence[int], languages: str
) -> list[PageSummary]:
    """All pages, as many at once as there are places. The first that fails ends the others."""
    done = 0
    job.progress(0, len(numbers))

    async def read(number: int) -> PageSummary:
        nonlocal done
        async with deps.places:
            started = time.perf_counter()
            summary = await deps.sandbox.run(
                read_page,
                source,
                job.payload.media_type,
                PageFiles(source.parent, number),
                job.payload.options,
                languages,
                deps.settings.ocr_max_page_pixels,
            )
        metrics.page_seconds.labels(summary.source).observe(time.perf_counter() - started)
        done += 1
        job.progress(done, len(numbers), f"read page {number}")
        return summary

    try:
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(read(number)) for number in numbers]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in reading]


async def _store(job: Job[OcrPayload], blobs: Blobs, folder: Path, name: str) -> Artifact:
    key = job.blob_key(name)
    stored = await blobs.write_file(key, folder / name)
    return Artifact(name, MEDIA_TYPES[name], stored.size, stored.sha256, key)


def _mean_confidence(summaries: Sequence[PageSummary]) -> float | None:
    """Over all recognised words; None if there are none."""
    recognised = [summary for summary in summaries if summary.source == "ocr"]
    words = sum(summary.words for summary in recognised)
    return round(sum(summary.confidence_sum for summary in recognised) / words, 1) if words else None


def _record(job_id: UUID, tenant: str, summaries: Sequence[PageSummary], confidence: float | None) -> Effects:
    """Enter the document, in the transaction that ends the job: its pages count once."""

    async def effects(connection: Connection) -> None:
        await connection.execute(
            insert(documents).values(
                job_id=job_id,
                tenant=tenant,
                pages=len(summaries),
                pages_recognised=sum(summary.source == "ocr" for summary in summaries),
                mean_confidence=confidence,
            )
        )

    return effects

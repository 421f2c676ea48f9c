"""The meaning of the OCR service. Read this first.

A document of one page is read at once. A longer one fans out: each page is a job of its own, which any worker
takes and which alone is tried again if it fails; when all have ended, the document puts their parts together.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from libs.common import log, metrics
from libs.common.blobs import Blobs
from libs.common.contracts.ocr import OcrPayload
from libs.common.db import Connection, Database
from libs.common.ledger.flows import Child, NewChild
from libs.common.ledger.jobs import State
from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox
from libs.common.sandbox.seccomp import network_is_closed
from libs.common.worker.job import Artifact, Done, Effects, FanOut, Job
from libs.common.worker.service import Platform
from services.ocr import page_cache, tesseract
from services.ocr.assembly import MEDIA_TYPES, assemble
from services.ocr.config import Settings
from services.ocr.documents import PDF, count_pages
from services.ocr.pages import PageFiles, Task, prepare_page, recognise_page, renumber
from services.ocr.refusals import (
    LanguageNotInstalled,
    NoSuchPage,
    OutOfMemory,
    PageCrashed,
    PagesFailed,
    PageTimeout,
)
from services.ocr.scratch_folder import scratch_folder
from services.ocr.source_cache import SourceCache
from services.ocr.tables import documents
from services.ocr.tesseract import Engine

FETCHED_AT_ONCE = 8
PUT_TOGETHER_IN_THE_TIME_OF_ONE = 20
"""Pages that may be put together in the time that one may take to be read; it is far less in fact."""
MORE_LOOKS_WITHIN = 0.4
"""The share of a page's time after which nothing more is tried: a timeout must not cost what has been read."""

logger = log.get("ocr")

PARTS = {".txt": "text/plain; charset=utf-8", ".json": "application/json", ".pdf": PDF}
"""Of a page; the last one, the layer of recognised text, is not there if the page had text of its own."""


@dataclass(frozen=True, slots=True)
class Deps:
    """What the handler needs."""

    settings: Settings
    database: Database
    blobs: Blobs
    sandbox: Sandbox
    sources: SourceCache
    folder: Path
    """For files that nobody needs after this process."""
    languages: frozenset[str]
    """Installed."""
    engine: Engine


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open what `handle` needs. Raises EngineFailed if there is no Tesseract."""
    limits = Limits(settings.ocr_memory_mb * 1024 * 1024, settings.ocr_page_timeout_s)
    refusals = Refusals(PageTimeout, OutOfMemory, PageCrashed)
    preload = ["services.ocr.pages", "services.ocr.assembly"]
    sandbox = Sandbox(limits, refusals, package="services.ocr", preload=preload)
    languages = frozenset(await sandbox.run(tesseract.installed_languages))
    engine = await sandbox.run(tesseract.installed_engine, settings.ocr_engine)
    if not await sandbox.run(network_is_closed):
        logger.warning("sandbox.network_open", why="this system has no seccomp filters")
    with scratch_folder() as folder:
        held = SourceCache(platform.blobs, folder)
        try:
            yield Deps(settings, platform.database, platform.blobs, sandbox, held, folder, languages, engine)
        finally:
            await held.close()


async def handle(job: Job[OcrPayload], deps: Deps) -> Done | FanOut:
    """Read a page; or begin a document, or put it together when its pages have been read."""
    payload = job.payload
    languages = _languages(payload, deps)
    with tempfile.TemporaryDirectory(dir=deps.folder) as name:
        folder = Path(name)
        async with deps.sources.open(payload.source) as source:
            if payload.page is not None:
                return await _read_page(job, deps, PageFiles(folder, payload.page), source, languages)
            entered = None
            if job.children:
                summaries = await _collect(job, deps, folder)
            else:
                numbers = await _wanted(deps, source, payload)
                if len(numbers) > 1:
                    return FanOut(tuple(_page_job(payload, number) for number in numbers))
                page = await _read_page(job, deps, PageFiles(folder, numbers[0]), source, languages)
                summaries, entered = [page.result], page.effects
            numbers = [summary["number"] for summary in summaries]
            sandbox = deps.sandbox.lasting(1 + len(numbers) / PUT_TOGETHER_IN_THE_TIME_OF_ONE)
            preview = await sandbox.run(assemble, source, payload.media_type, folder, numbers)
        artifacts = [await _store(job, deps.blobs, folder / name, name) for name in MEDIA_TYPES]
    confidence = _mean_confidence(summaries)
    result = {"pages": len(summaries), "confidence": confidence, "language": languages, "preview": preview}
    return Done(result, tuple(artifacts), effects=_record(job.id, job.tenant, summaries, confidence, entered))


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


async def _wanted(deps: Deps, source: Path, payload: OcrPayload) -> list[int]:
    total = await deps.sandbox.run(count_pages, source, payload.media_type, deps.settings.ocr_max_pages)
    return wanted_pages(payload.options.pages, total)


def _page_job(payload: OcrPayload, number: int) -> NewChild:
    return NewChild("page", payload.model_copy(update={"page": number}).model_dump_json().encode())


def _languages(payload: OcrPayload, deps: Deps) -> str:
    wanted = payload.options.languages or tuple(deps.settings.ocr_languages.split("+"))
    missing = [language for language in wanted if language not in deps.languages]
    if missing:
        there = ", ".join(sorted(deps.languages))
        raise LanguageNotInstalled(f"Not installed: {', '.join(missing)}. Installed: {there}.")
    return "+".join(wanted)


async def _read_page(job: Job[OcrPayload], deps: Deps, files: PageFiles, source: Path, languages: str) -> Done:
    """Leave the page's parts in `files`, and in the blob store; read it only if this very picture is new."""
    started = time.perf_counter()
    payload = job.payload
    settings = deps.settings
    more_looks_s = settings.ocr_page_timeout_s * MORE_LOOKS_WITHIN
    task = Task(
        source,
        payload.media_type,
        payload.options,
        deps.engine,
        languages,
        settings.ocr_max_page_pixels,
        more_looks_s,
    )
    prepared = await deps.sandbox.run(prepare_page, task, files, task.dpi)
    effects = None
    if prepared.summary is not None:
        summary = prepared.summary.document()
    else:
        key = page_cache.key_of(
            prepared.digest, deps.engine.identity, payload.options, languages, prepared.dpi, payload.media_type
        )
        known = await _known(job, deps, key, files)
        if known is not None:
            summary = known
        else:
            read = await deps.sandbox.run(recognise_page, task, prepared, files)
            summary = read.document()
            effects = page_cache.entered(job.tenant, key, job.blob_key("page"), summary)
    artifacts = [
        await _store(job, deps.blobs, files.path(suffix), f"page{suffix}")
        for suffix in PARTS
        if files.path(suffix).exists()
    ]
    metrics.page_seconds.labels(summary["source"]).observe(time.perf_counter() - started)
    return Done(summary, tuple(artifacts), effects)


async def _known(job: Job[OcrPayload], deps: Deps, key: bytes, files: PageFiles) -> dict[str, Any] | None:
    """The summary of a page that was read before, its parts in `files`; None: it is new, or no longer there."""
    known = await page_cache.find(deps.database, job.tenant, key)
    if known is None:
        return None
    try:
        for suffix in PARTS:
            if suffix != ".pdf" or known.summary["recognised"]:
                await deps.blobs.read_file(f"{known.folder}{suffix}", files.path(suffix))
    except FileNotFoundError:
        return None
    await deps.sandbox.run(renumber, files)  # it may have been another page then
    return known.summary | {"number": files.number, "read_before": True}


async def _collect(job: Job[OcrPayload], deps: Deps, folder: Path) -> list[dict[str, Any]]:
    """Fetch what the pages' jobs have left. Raises PagesFailed."""
    failed = [child for child in job.children if child.state is not State.SUCCEEDED]
    if failed:
        job.progress(len(job.children) - len(failed), len(job.children))
        raise PagesFailed(_why(failed, len(job.children)))
    job.progress(len(job.children), len(job.children), "putting the pages together")

    async def fetch(child: Child) -> dict[str, Any]:
        files = PageFiles(folder, child.payload["page"])
        async with fetching:
            for artifact in child.artifacts:
                await deps.blobs.read_file(artifact["key"], files.path(artifact["name"].removeprefix("page")))
        return child.result or {}

    fetching = asyncio.Semaphore(FETCHED_AT_ONCE)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(child)) for child in job.children]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _why(failed: Sequence[Child], total: int) -> str:
    first = failed[0]
    error = first.error or {"code": first.state, "message": "It was cancelled."}
    return (
        f"{len(failed)} of {total} pages could not be read; the others are kept, and a retry reads only these."
        f" Page {first.payload['page']}: {error['code']}: {error['message']}"
    )


async def _store(job: Job[OcrPayload], blobs: Blobs, path: Path, name: str) -> Artifact:
    key = job.blob_key(name)
    stored = await blobs.write_file(key, path)
    media_type = MEDIA_TYPES.get(name) or PARTS[path.suffix]
    return Artifact(name, media_type, stored.size, stored.sha256, key)


def _mean_confidence(summaries: Sequence[dict[str, Any]]) -> float | None:
    """Over all recognised words; None if there are none."""
    words = sum(summary["recognised"] for summary in summaries)
    total = sum((summary["confidence"] or 0.0) * summary["recognised"] for summary in summaries)
    return round(total / words, 1) if words else None


def _record(
    job_id: UUID,
    tenant: str,
    summaries: Sequence[dict[str, Any]],
    confidence: float | None,
    entered: Effects | None,
) -> Effects:
    """Enter the document, in the transaction that ends the job: its pages count once."""

    async def effects(connection: Connection) -> None:
        if entered is not None:
            await entered(connection)
        await connection.execute(
            insert(documents).values(
                job_id=job_id,
                tenant=tenant,
                pages=len(summaries),
                pages_recognised=sum(summary["source"] != "text-layer" for summary in summaries),
                mean_confidence=confidence,
            )
        )

    return effects

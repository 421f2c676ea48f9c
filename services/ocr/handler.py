"""The OCR service's job handler. Read this first.

A document of one page is read by its own job. A longer document fans out into one job per page, which any worker
can take and which is retried on its own. When all pages have ended, the document's job runs again and assembles
their parts.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from libs.common import metrics, tracing
from libs.common.blobs import Blobs
from libs.common.contracts.ocr import LANGUAGES, PASSWORDS, OcrPayload
from libs.common.db import Connection, Database
from libs.common.errors import BlobMissing
from libs.common.ledger.claim import Offers, secret_of
from libs.common.ledger.flows import Child, NewChild
from libs.common.ledger.jobs import State
from libs.common.sandbox import Limits, Refusals, Sandbox
from libs.common.sealing import SealBroken, Sealer
from libs.common.worker.job import Artifact, Done, Effects, FanOut, Job
from libs.common.worker.service import Platform
from services.ocr import page_cache, tesseract, warnings
from services.ocr.assembly import MEDIA_TYPES, assemble
from services.ocr.config import Settings
from services.ocr.documents import PDF, count_pages
from services.ocr.page_reading import PageFiles, Task, prepare_page, recognise_page, renumber
from services.ocr.refusals import (
    LanguageNotInstalled,
    NoSuchPage,
    OutOfMemory,
    PageCrashed,
    PagesFailed,
    PageTimeout,
    PasswordLost,
    ScratchFolderFull,
)
from services.ocr.scratch_folder import scratch_folder
from services.ocr.source_cache import SourceCache
from services.ocr.tables import documents
from services.ocr.tesseract import Engine

CONCURRENT_FETCHES = 8
HOW_FOUND = ("read", "found_before", "text")
"""Whether a page was recognised, had been read before, or has its text as text."""
PAGES_ASSEMBLED_PER_TIMEOUT = 20
"""The time limit for assembling is one page timeout, plus one for each 20 pages. In fact it takes far less."""
EXTRA_PASSES_WITHIN = 0.4
"""The share of a page's time limit after which no further pass is begun, lest a timeout lose the first result."""

DECODED_BY_THREADS = ("image/heic",)
"""libde265 does not decode without a second thread."""

FONTS = tuple(map(Path, ("/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/X11/fonts")))
"""Where pdfium looks for fonts that a PDF names but does not contain."""

PAGE_PARTS = {".txt": "text/plain; charset=utf-8", ".json": "application/json", ".pdf": PDF}
"""Files of a page. The PDF, a layer of recognised text, is missing if only the page's own text is used."""


@dataclass(frozen=True, slots=True)
class Deps:
    """The handler's dependencies."""

    settings: Settings
    database: Database
    blobs: Blobs
    sandbox: Sandbox
    """Its processes can read the engine's models."""
    sources: SourceCache
    folder: Path
    """For temporary files of this process."""
    languages: frozenset[str]
    """The installed ones."""
    engine: Engine
    passwords: Sealer | None = field(default=None, repr=False)
    """Opens passwords of documents; None: there is no OCR_SECRET."""


@asynccontextmanager
async def resources(settings: Settings, platform: Platform) -> AsyncIterator[Deps]:
    """Open the dependencies of `handle`. Raises EngineFailed if Tesseract is not installed."""
    limits = Limits(settings.ocr_memory_mb << 20, settings.ocr_page_timeout_s, settings.ocr_scratch_mb << 20)
    refusals = Refusals(PageTimeout, OutOfMemory, PageCrashed, ScratchFolderFull)
    preload = ["services.ocr.page_reading", "services.ocr.assembly"]
    sandbox = Sandbox(limits, refusals, package="services.ocr", preload=preload)
    engine = await asyncio.to_thread(tesseract.installed_engine, settings.ocr_engine)
    sandbox = sandbox.reading(engine.models, *FONTS)
    metrics.show_from_the_start(metrics.pages, result=HOW_FOUND)
    secret = settings.ocr_secret
    passwords = None if secret is None else Sealer(secret.get_secret_value(), PASSWORDS)
    languages = frozenset(await sandbox.starting(engine.program).run(tesseract.installed_languages, engine))
    with scratch_folder() as folder:
        sources = SourceCache(platform.blobs, folder)
        try:
            yield Deps(
                settings, platform.database, platform.blobs, sandbox, sources, folder, languages, engine, passwords
            )
        finally:
            await sources.close()


def offers(deps: Deps) -> Offers:
    """What gateways may be told: the languages that documents can be read in here."""
    return {LANGUAGES: sorted(deps.languages)}


async def handle(job: Job[OcrPayload], deps: Deps) -> Done | FanOut:
    """Read a page or a one-page document. Fan out a longer document, and assemble it when its pages are read."""
    payload = job.payload
    languages = _languages(payload, deps)
    password = await _password(job, deps) if payload.media_type == PDF else None
    with tempfile.TemporaryDirectory(dir=deps.folder) as name:
        folder = Path(name)
        async with deps.sources.open(payload.source) as source:
            if payload.page is not None:
                return await _read_page(job, deps, PageFiles(folder, payload.page), source, languages, password)
            cache_effects = None
            if job.children:
                summaries = await _collect(job, deps, folder)
            else:
                numbers = await _wanted(deps, source, payload, password)
                if len(numbers) > 1:
                    return FanOut(tuple(_page_job(payload, number) for number in numbers))
                files = PageFiles(folder, numbers[0])
                page = await _read_page(job, deps, files, source, languages, password)
                summaries, cache_effects = [page.result], page.effects
            numbers = [summary["number"] for summary in summaries]
            sandbox = _sandbox(deps, payload).lasting(1 + len(numbers) / PAGES_ASSEMBLED_PER_TIMEOUT)
            sandbox = sandbox.reading(source).writing(folder)
            assembled = await sandbox.run(
                assemble,
                source,
                payload.media_type,
                folder,
                numbers,
                rotate=payload.options.rotate,
                password=password,
            )
        artifacts = [await _store(job, deps.blobs, folder / name, name) for name in MEDIA_TYPES]
    confidence = _mean_confidence(summaries)
    of_pages = {summary["number"]: list(summary.get("warnings", ())) for summary in summaries}
    for number in assembled.differing:
        of_pages[number].append("looks_different")
    result = {
        "pages": len(summaries),
        "confidence": confidence,
        "language": languages,
        "preview": assembled.preview,
        "warnings": warnings.listed(of_pages, assembled.warnings),
    }
    return Done(
        result, tuple(artifacts), effects=_record(job.id, job.tenant, summaries, confidence, cache_effects)
    )


def wanted_pages(pages: str | None, total: int) -> list[int]:
    """Parse page ranges such as `1-3,7` into sorted page numbers. None: all pages. Raises NoSuchPage."""
    if pages is None:
        return list(range(1, total + 1))
    wanted: set[int] = set()
    for part in pages.split(","):
        first, _, last = part.partition("-")
        if int(last or first) > total:
            raise NoSuchPage(f"There is no page {last or first}: the document has {total}.")
        wanted.update(range(int(first), int(last or first) + 1))
    return sorted(wanted)


def _sandbox(deps: Deps, payload: OcrPayload) -> Sandbox:
    return deps.sandbox.threaded() if payload.media_type in DECODED_BY_THREADS else deps.sandbox


async def _password(job: Job[OcrPayload], deps: Deps) -> str | None:
    """The password of the document, if there is one. Raises PasswordLost, Unavailable."""
    sealed = await secret_of(deps.database, job.id)
    if sealed is None:
        return None
    if deps.passwords is None:
        raise PasswordLost
    try:
        return deps.passwords.open(sealed, job.tenant, job.parent or job.id).decode()
    except SealBroken:
        raise PasswordLost from None


async def _wanted(deps: Deps, source: Path, payload: OcrPayload, password: str | None) -> list[int]:
    sandbox = deps.sandbox.reading(source)
    total = await sandbox.run(count_pages, source, payload.media_type, deps.settings.ocr_max_pages, password)
    return wanted_pages(payload.options.pages, total)


def _page_job(payload: OcrPayload, number: int) -> NewChild:
    page = payload.model_copy(update={"page": number})
    return NewChild("page", page.model_dump_json(exclude_defaults=True).encode())


def _languages(payload: OcrPayload, deps: Deps) -> str:
    wanted = payload.options.languages or tuple(deps.settings.ocr_languages.split("+"))
    missing = [language for language in wanted if language not in deps.languages]
    if missing:
        installed = ", ".join(sorted(deps.languages))
        raise LanguageNotInstalled(f"Not installed: {', '.join(missing)}. Installed: {installed}.")
    return "+".join(wanted)


async def _read_page(
    job: Job[OcrPayload], deps: Deps, files: PageFiles, source: Path, languages: str, password: str | None
) -> Done:
    """Write the page's parts to `files` and to the blob store. Run OCR only if the page is not in the cache."""
    with tracing.child("page", page=files.number) as span:
        done = await _read(job, deps, files, source, languages, password)
        metrics.pages.labels(_how_found(done.result)).inc()
        span.set(source=done.result["source"], read_before=done.result.get("read_before", False))
        return done


async def _read(
    job: Job[OcrPayload], deps: Deps, files: PageFiles, source: Path, languages: str, password: str | None
) -> Done:
    started = time.perf_counter()
    job.progress(0, 1)
    payload = job.payload
    settings = deps.settings
    extra_passes_s = settings.ocr_page_timeout_s * EXTRA_PASSES_WITHIN
    task = Task(
        source,
        payload.media_type,
        payload.options,
        deps.engine,
        languages,
        settings.ocr_max_page_pixels,
        extra_passes_s,
        password,
    )
    sandbox = _sandbox(deps, payload).reading(source).writing(files.folder)
    prepared = await sandbox.run(prepare_page, task, files, task.dpi)
    effects = None
    if prepared.summary is not None:
        summary = prepared.summary.document()
    else:
        key = page_cache.key_of(
            prepared.digest, deps.engine.identity, payload.options, languages, prepared.dpi, payload.media_type
        )
        cached = await _cached(job, deps, key, files)
        if cached is not None:
            summary = cached
        else:
            reader = sandbox.starting(deps.engine.program)
            read = await reader.run(recognise_page, task, prepared, files)
            summary = read.document()
            effects = page_cache.insert_effects(job.tenant, key, job.blob_key("page"), summary)
    artifacts = [
        await _store(job, deps.blobs, files.path(suffix), f"page{suffix}")
        for suffix in PAGE_PARTS
        if files.path(suffix).exists()
    ]
    metrics.page_seconds.labels(summary["source"]).observe(time.perf_counter() - started)
    job.progress(1, 1)
    return Done(summary, tuple(artifacts), effects)


async def _cached(job: Job[OcrPayload], deps: Deps, key: bytes, files: PageFiles) -> dict[str, Any] | None:
    """Copy the parts of a cached page to `files`. Returns its summary, or None if it is not there."""
    cached = await page_cache.find(deps.database, job.tenant, key)
    if cached is None:
        return None
    try:
        for suffix in PAGE_PARTS:
            if suffix != ".pdf" or cached.summary["recognised"]:
                await deps.blobs.read_file(f"{cached.folder}{suffix}", files.path(suffix))
    except BlobMissing:
        return None
    await deps.sandbox.writing(files.folder).run(renumber, files)  # it may have had another page number
    return cached.summary | {"number": files.number, "read_before": True}


async def _collect(job: Job[OcrPayload], deps: Deps, folder: Path) -> list[dict[str, Any]]:
    """Fetch the parts that the page jobs have stored. Returns the summaries. Raises PagesFailed, BlobMissing."""
    failed = [child for child in job.children if child.state is not State.SUCCEEDED]
    if failed:
        job.progress(len(job.children) - len(failed), len(job.children))
        raise PagesFailed(_failure_message(failed, len(job.children)))
    job.progress(len(job.children), len(job.children), "assembling the document")

    async def fetch(child: Child) -> dict[str, Any]:
        files = PageFiles(folder, child.payload["page"])
        async with limit:
            for artifact in child.artifacts:
                await deps.blobs.read_file(artifact["key"], files.path(artifact["name"].removeprefix("page")))
        return child.result or {}

    limit = asyncio.Semaphore(CONCURRENT_FETCHES)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(child)) for child in job.children]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _failure_message(failed: Sequence[Child], total: int) -> str:
    first = failed[0]
    error = first.error or {"code": first.state, "message": "It was cancelled."}
    return (
        f"{len(failed)} of {total} pages could not be read; the others are kept, and a retry reads only these."
        f" Page {first.payload['page']}: {error['code']}: {error['message']}"
    )


async def _store(job: Job[OcrPayload], blobs: Blobs, path: Path, name: str) -> Artifact:
    key = job.blob_key(name)
    stored = await blobs.write_file(key, path)
    media_type = MEDIA_TYPES.get(name) or PAGE_PARTS[path.suffix]
    return Artifact(name, media_type, stored.size, stored.sha256, key, _saved_as(job.payload.filename, name))


def _saved_as(uploaded: str, name: str) -> str | None:
    """The name of the document that was uploaded, with the suffix of the artifact."""
    stem = PurePath(uploaded.replace("\\", "/")).stem
    return stem + "".join(PurePath(name).suffixes) if stem else None


def _how_found(summary: dict[str, Any]) -> str:
    """One of HOW_FOUND."""
    if summary.get("read_before"):
        return "found_before"
    return "text" if summary["source"] == "text-layer" else "read"


def _mean_confidence(summaries: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean over all recognised words, or None if there are none."""
    words = sum(summary["recognised"] for summary in summaries)
    total = sum((summary["confidence"] or 0.0) * summary["recognised"] for summary in summaries)
    return round(total / words, 1) if words else None


def _record(
    job_id: UUID,
    tenant: str,
    summaries: Sequence[dict[str, Any]],
    confidence: float | None,
    cache_effects: Effects | None,
) -> Effects:
    """Return effects that record the document in the transaction that ends the job, so its pages count once."""

    async def effects(connection: Connection) -> None:
        if cache_effects is not None:
            await cache_effects(connection)
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

"""Writes a file: COPY in PostgreSQL, through a format, into the blob store. Nothing of it is held.

COPY is one statement, so the file is of one moment, whatever is written meanwhile. A crash or a retry begins anew
under the key of the next attempt; nobody can download what no row of the ledger names.
"""

import time
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import orjson

from libs.common import metrics
from libs.common.blobs import Blobs, Stored
from libs.common.contracts.datasets import SUBJECT
from libs.common.contracts.exports import ExporterPayload, ExportRequest, FilePayload
from libs.common.contracts.ids import parse_id
from libs.common.db import LONG_S, Connection, Copy, Database, fetch_within
from libs.common.db_copy import CopyTooSlow
from libs.common.worker.job import Artifact, Done, Job
from services.exporter import letters
from services.exporter.config import Settings
from services.exporter.counting import Pace
from services.exporter.formats import writer_of
from services.exporter.manifest import manifest_of
from services.exporter.refusals import SinceUnknown, TooSlow
from services.exporter.selection import Selection, select
from services.exporter.snapshots import Snapshots

_REMEMBER = """
INSERT INTO export.files (job, tenant, dataset, rows, bytes, as_of, snapshot) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_SINCE = "SELECT pg_snapshot_xmin(snapshot::pg_snapshot)::text FROM export.files WHERE job = $1 AND dataset = $2"


async def write_file(
    job: Job[ExporterPayload],
    payload: FilePayload,
    settings: Settings,
    database: Database,
    blobs: Blobs,
    snapshots: Snapshots,
) -> Done:
    """Write the file and its manifest. Raises TooSlow, TooLarge, SinceUnknown, Unavailable."""
    request = payload.request
    begun = time.monotonic()
    selection = select(request, await _since(job.tenant, request, database))
    writer = writer_of(request, selection.sql)
    pace = Pace(
        writer.counter,
        lambda rows, expected, left: job.progress(rows, expected, seconds_left=left),
        expected=await _expected(job.tenant, request, selection, database),
        rows_per_s=settings.export_rows_per_s,
    )
    key = job.blob_key(request.file_name)
    try:
        async with database.copy(
            writer.query,
            *selection.args,
            tenant=job.tenant,
            timeout_s=settings.export_timeout_s,
            written=writer.written,
        ) as copy:
            with snapshots.held():
                chunks = _noting_the_first(writer.write(pace.watch(copy.chunks)), begun)
                stored = await blobs.write(key, chunks)
    except CopyTooSlow as error:
        raise TooSlow from error
    assert copy.rows is not None  # noqa: S101 - all has been read
    facts = {"rows": copy.rows, **writer.facts()}
    _measure(request, copy.rows, stored, time.monotonic() - begun)
    job.progress(copy.rows, copy.rows)
    file = Artifact(request.file_name, request.media_type, stored.size, stored.sha256, key)
    manifest = await _write_manifest(job, request, blobs, stored, facts, copy)
    return _done(job, payload, settings, database, (file, manifest), facts, copy)


def _done(
    job: Job[ExporterPayload],
    payload: FilePayload,
    settings: Settings,
    database: Database,
    artifacts: tuple[Artifact, Artifact],
    facts: dict[str, Any],
    copy: Copy,
) -> Done:
    file, _ = artifacts
    result = {**facts, "bytes": file.size, "as_of": copy.as_of.isoformat()}
    row = job.id, job.tenant, payload.request.dataset, copy.rows, file.size, copy.as_of, copy.snapshot

    async def effects(connection: Connection) -> None:
        async with database.as_tenant(connection, job.tenant):
            await fetch_within(connection, _REMEMBER, *row)
        if payload.letter is not None:
            link = letters.link_to(file, job.tenant, job.id, settings)
            variables = {"file": file.name, **result, **link}
            await letters.send(connection, payload.letter, job.tenant, job.id, variables)

    return Done(result, artifacts, effects)


async def _since(tenant: str, request: ExportRequest, database: Database) -> int | None:
    """The oldest transaction that the export `since` did not see the end of. Raises SinceUnknown."""
    if request.since is None:
        return None
    earlier = await database.fetch(_SINCE, parse_id(request.since), request.dataset, tenant=tenant)
    if not earlier:
        raise SinceUnknown
    return int(earlier[0][0])


async def _expected(tenant: str, request: ExportRequest, selection: Selection, database: Database) -> int | None:
    """About how many rows there will be, as PostgreSQL estimates it; None where it would be a mere guess."""
    if request.filter or request.since or request.dataset == SUBJECT:
        return None
    rows = await database.fetch(
        f"EXPLAIN (FORMAT JSON) {selection.sql}", *selection.args, tenant=tenant, timeout_s=LONG_S
    )
    plan = rows[0][0]
    plan = orjson.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


async def _write_manifest(
    job: Job[ExporterPayload],
    request: ExportRequest,
    blobs: Blobs,
    stored: Stored,
    facts: dict[str, Any],
    copy: Copy,
) -> Artifact:
    manifest = manifest_of(job.id, request, stored, facts, copy.as_of, copy.snapshot)
    text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
    key = job.blob_key("manifest.json")

    async def chunks() -> AsyncIterator[bytes]:
        yield text

    written = await blobs.write(key, chunks())
    return Artifact("manifest.json", "application/json", written.size, written.sha256, key)


async def _noting_the_first(chunks: AsyncIterable[bytes], begun: float) -> AsyncIterator[bytes]:
    is_first = True
    async for chunk in chunks:
        if is_first:
            metrics.export_first_byte_seconds.observe(time.monotonic() - begun)
            is_first = False
        yield chunk


def _measure(request: ExportRequest, rows: int, stored: Stored, seconds: float) -> None:
    metrics.export_rows.labels(request.dataset, request.format).inc(rows)
    metrics.export_bytes.inc(stored.size)
    metrics.export_seconds.labels(request.format).observe(seconds)

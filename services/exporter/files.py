"""Writes the files of a job and their manifest, all as of one moment.

Every file is read by one COPY of the same snapshot, whatever is written meanwhile. A crash or a retry begins anew
under the key of the next attempt; nobody can download what no row of the ledger names.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import orjson

from libs.common.blobs import job_folder
from libs.common.contracts.exports import ExporterPayload, FilePayload, file_names
from libs.common.contracts.moments import written
from libs.common.db import Connection, Snapshot, fetch_within
from libs.common.parallel import bounded
from libs.common.worker.job import Artifact, Done, Job
from services.exporter import file_writing, letters
from services.exporter.counting import Pace
from services.exporter.deps import Deps
from services.exporter.file_writing import Plan
from services.exporter.manifest import Written, manifest_of

_REMEMBER = """
INSERT INTO export.files (job, tenant, dataset, rows, bytes, as_of, snapshot)
SELECT $1, $2, f.dataset, sum(f.rows), sum(f.bytes), $6, $7
FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS f (dataset, rows, bytes) GROUP BY f.dataset
"""


async def write_files(job: Job[ExporterPayload], payload: FilePayload, deps: Deps) -> Done:
    """Write all files, or none. Raises TooSlow, TooLarge, SinceUnknown, Unavailable."""
    await _clear_up(job, deps)
    named = zip(file_names(payload.requests), payload.requests, strict=True)
    plans = [await file_writing.plan(name, request, job.tenant, deps.database) for name, request in named]
    pace = _pace(job, plans, deps.settings.export_rows_per_s)
    with deps.snapshots.held():
        async with deps.database.snapshot(timeout_s=deps.settings.export_timeout_s) as snapshot:
            calls = [partial(file_writing.write, job, planned, snapshot, pace, deps) for planned in plans]
            files = await bounded(deps.settings.export_concurrency, calls)
    manifest = await _write_manifest(job, files, snapshot, deps)
    rows = sum(file.facts["rows"] for file in files)
    job.progress(rows, rows)
    return _done(job, payload, files, manifest, snapshot, deps)


async def _clear_up(job: Job[ExporterPayload], deps: Deps) -> None:
    """Remove what the attempt before has written, which nobody will name. It has done the same."""
    if job.attempt > 1:
        await deps.blobs.discard(f"{job_folder(job.tenant, job.id)}/{job.attempt - 1}")


def _pace(job: Job[ExporterPayload], plans: Sequence[Plan], rows_per_s: int) -> Pace:
    expected = [planned.expected for planned in plans]
    known = [rows for rows in expected if rows is not None]
    return Pace(
        [planned.writer.counter for planned in plans],
        lambda rows, expected, left: job.progress(rows, expected, seconds_left=left),
        expected=sum(known) if len(known) == len(expected) else None,
        rows_per_s=rows_per_s,
    )


def _done(
    job: Job[ExporterPayload],
    payload: FilePayload,
    files: Sequence[Written],
    manifest: Artifact,
    snapshot: Snapshot,
    deps: Deps,
) -> Done:
    result = _sum(files) | {"as_of": written(snapshot.as_of)}
    per_file = [(file.request.dataset, file.facts["rows"], file.facts["bytes"]) for file in files]
    row = job.id, job.tenant, *map(list, zip(*per_file, strict=True)), snapshot.as_of, snapshot.seen

    async def effects(connection: Connection) -> None:
        async with deps.database.as_tenant(connection, job.tenant):
            await fetch_within(connection, _REMEMBER, *row)
        if payload.letter is not None:
            variables = result | letters.links_to(files, job.tenant, job.id, deps.settings)
            await letters.send(connection, payload.letter, job.tenant, job.id, variables)

    return Done(result, (*(file.artifact for file in files), manifest), effects)


def _sum(files: Sequence[Written]) -> dict[str, Any]:
    """What is said of each, of all together."""
    total: Counter[str] = Counter()
    for file in files:
        total.update(file.facts)
    return dict(total)


async def _write_manifest(
    job: Job[ExporterPayload], files: Sequence[Written], snapshot: Snapshot, deps: Deps
) -> Artifact:
    text = orjson.dumps(manifest_of(job.id, files, snapshot), option=orjson.OPT_INDENT_2)
    key = job.blob_key("manifest.json")

    async def chunks() -> AsyncIterator[bytes]:
        yield text

    written = await deps.blobs.write(key, chunks())
    return Artifact("manifest.json", "application/json", written.size, written.sha256, key)

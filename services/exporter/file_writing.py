"""Writes a file: COPY in PostgreSQL, through a format, into the blob store. Nothing of it is held."""

import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

import orjson

from libs.common import metrics
from libs.common.contracts.datasets import SUBJECT
from libs.common.contracts.exports import ExporterPayload, ExportRequest
from libs.common.contracts.ids import parse_id
from libs.common.db import LONG_S, Database, Snapshot
from libs.common.db_copy import CopyTooSlow
from libs.common.worker.job import Artifact, Job
from services.exporter.counting import Pace
from services.exporter.deps import Deps
from services.exporter.formats import FileWriter, writer_of
from services.exporter.manifest import Written
from services.exporter.refusals import SinceUnknown, TooSlow
from services.exporter.selection import Selection, select

_SINCE = "SELECT pg_snapshot_xmin(snapshot::pg_snapshot)::text FROM export.files WHERE job = $1 AND dataset = $2"


@dataclass(frozen=True, slots=True)
class Plan:
    """A file that is to be written."""

    name: str
    request: ExportRequest
    selection: Selection
    writer: FileWriter
    expected: int | None
    """About how many rows there will be; None: there is no telling."""


async def plan(name: str, request: ExportRequest, tenant: str, database: Database) -> Plan:
    """How to write the file `name`. Raises SinceUnknown, Unavailable."""
    selection = select(request, await _since(name, tenant, request, database))
    expected = await _expected(tenant, request, selection, database)
    return Plan(name, request, selection, writer_of(name, request, selection.sql), expected)


async def write(job: Job[ExporterPayload], planned: Plan, snapshot: Snapshot, pace: Pace, deps: Deps) -> Written:
    """Write the file. Raises TooSlow, TooLarge, Unavailable."""
    request, writer, key = planned.request, planned.writer, job.blob_key(planned.name)
    async with deps.places:
        begun = time.monotonic()
        try:
            async with deps.database.copy(
                writer.query,
                *planned.selection.args,
                tenant=job.tenant,
                timeout_s=snapshot.left_s,
                written=writer.written,
                snapshot=snapshot,
            ) as copy:
                made = writer.write(pace.watch(writer.counter, copy.chunks))
                stored = await deps.blobs.write(key, _noting_the_first(made, begun))
        except CopyTooSlow as error:
            raise TooSlow(planned.name) from error
    assert copy.rows is not None  # noqa: S101 - all has been read
    metrics.export_rows.labels(request.dataset, request.format).inc(copy.rows)
    metrics.export_bytes.inc(stored.size)
    metrics.export_seconds.labels(request.format).observe(time.monotonic() - begun)
    artifact = Artifact(planned.name, request.media_type, stored.size, stored.sha256, key)
    return Written(request, artifact, {"rows": copy.rows, "bytes": stored.size, **writer.facts()})


async def _since(name: str, tenant: str, request: ExportRequest, database: Database) -> int | None:
    """The oldest transaction that the export `since` did not see the end of. Raises SinceUnknown."""
    if request.since is None:
        return None
    earlier = await database.fetch(_SINCE, parse_id(request.since), request.dataset, tenant=tenant)
    if not earlier:
        raise SinceUnknown(name)
    return int(earlier[0][0])


async def _expected(tenant: str, request: ExportRequest, selection: Selection, database: Database) -> int | None:
    """How many rows PostgreSQL estimates; None where that would be a mere guess."""
    if request.filter or request.since or request.dataset == SUBJECT:
        return None
    rows = await database.fetch(
        f"EXPLAIN (FORMAT JSON) {selection.sql}", *selection.args, tenant=tenant, timeout_s=LONG_S
    )
    plan = rows[0][0]
    plan = orjson.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


async def _noting_the_first(chunks: AsyncIterable[bytes], begun: float) -> AsyncIterator[bytes]:
    is_first = True
    async for chunk in chunks:
        if is_first:
            metrics.export_first_byte_seconds.observe(time.monotonic() - begun)
            is_first = False
        yield chunk

"""make bench-exports: files in every format, each beside its limit and its peers in the same run.

PostgreSQL runs with fsync on; one export at a time; 10 columns. The limit of CSV is psql's \\copy,
that of JSON lines the same COPY to nowhere. Peers are given rows that are in memory already. A peer that is not
installed is left out: `pip install xlsxwriter rustpy-xlsxwriter`.
"""

import argparse
import asyncio
import io
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import uvloop

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.exports import ExporterPayload, ExportRequest, FilePayload
from libs.common.contracts.services import EXPORTER
from libs.common.db import Database, connect
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Job
from services.exporter.config import Settings
from services.exporter.files import write_file
from services.exporter.formats import writer_of
from services.exporter.selection import select
from services.exporter.snapshots import Snapshots

TENANT = "bench"
COLUMNS = (
    *("id", "title", "agency", "summary", "opens_at", "closes_at", "amount_min", "revision", "extra", "status"),
)
FILL = """
INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, url, agency, opens_at, closes_at,
  amount_min, extra, raw, language, digest, first_run, last_run)
SELECT $1, gen_random_uuid(), $2, n::text, 'Grant ' || n || ' & more', repeat('word ', 10 + n % 20), NULL,
  'Agency ' || n % 100, now() - n * interval '1 minute', now() + n * interval '1 minute', n * 1.25,
  jsonb_build_object('category', n % 7, 'name', 'x'), '{}', 'simple', '', $2, $2
FROM generate_series($3::int, $4::int) n
"""
PEERS_AT_MOST = 200_000
"""Rows for writers that take a tenth of a millisecond for each."""


class Bench:
    """A database with opportunities, and a blob store."""

    def __init__(self, owner: Database, exporter: Database, servers: Trio, folder: Path) -> None:
        self.owner = owner
        self.exporter = exporter
        self.servers = servers
        self.folder = folder
        self.blobs = Blobs(BlobSettings.model_validate({"blob_url": (folder / "blobs").as_uri()}))
        self.rows = 0

    async def fill(self, rows: int) -> None:
        """Have so many rows."""
        source = new_id()
        for first in range(self.rows + 1, rows + 1, 50_000):
            await self.owner.fetch(FILL, TENANT, source, first, min(rows, first + 49_999), timeout_s=600)
        await self.owner.fetch("ANALYZE sync.opportunities", timeout_s=600)
        self.rows = rows

    async def export(self, format_: str, **options: Any) -> None:
        """Write one file."""
        request = request_of(format_, **options)
        job: Job[ExporterPayload] = Job(
            new_id(), 1, TENANT, "file", ExporterPayload(FilePayload(request=request)), lambda _: None
        )
        settings = Settings.model_validate(
            {"database_url": "x", "nats_url": "nats://x", "blob_url": "file:///x", "link_secret": "x" * 32}
        )
        payload = FilePayload(request=request)
        await write_file(job, payload, settings, self.exporter, self.blobs, Snapshots())

    async def copy_to_nowhere(self, format_: str) -> None:
        """Read what COPY sends, and drop it."""
        request = request_of(format_)
        writer = writer_of(request, select(request, None).sql)
        async with self.exporter.copy(writer.query, tenant=TENANT, timeout_s=900, written=writer.written) as copy:
            async for _ in copy.chunks:
                pass

    async def psql(self) -> None:
        """The limit of CSV."""
        request = request_of("csv")
        query = " ".join(writer_of(request, select(request, None).sql).query.split())
        setup = f"SET ROLE {EXPORTER.role.of_a_tenant}; SET argosy.tenant = '{TENANT}'; SET TimeZone = 'UTC'"
        copy = f"\\copy ({query}) TO '{self.folder / 'psql.csv'}' CSV HEADER"
        address = self.servers.postgres.url
        await asyncio.to_thread(
            subprocess.run, ["psql", address, "-q", "-c", setup, "-c", copy], check=True, capture_output=True
        )

    async def rows_in_memory(self) -> list[tuple[Any, ...]]:
        """For peers, who are given rows."""
        request = request_of("csv")
        sql = f"{select(request, None).sql} LIMIT {PEERS_AT_MOST}"
        return [tuple(row) for row in await self.exporter.fetch(sql, tenant=TENANT, timeout_s=600)]


def request_of(format_: str, **options: Any) -> ExportRequest:
    """The same export in each format."""
    return ExportRequest.model_validate(
        {"dataset": "opportunities", "format": format_, "columns": COLUMNS, "options": options}
    )


async def measured(name: str, rows: int, what: Callable[[], Awaitable[None]]) -> float:
    """Rows a second, the better of two times; they are printed."""
    best = float("inf")
    for _ in range(2):
        begun = time.perf_counter()
        await what()
        best = min(best, time.perf_counter() - begun)
    print(f"{name:44} {rows / best:>12,.0f} rows/s   {rss_mb():6.0f} MB", flush=True)
    return rows / best


def rss_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def xlsxwriter(rows: list[tuple[Any, ...]], folder: Path) -> None:
    """XlsxWriter with constant memory."""
    book = import_module("xlsxwriter").Workbook(str(folder / "peer.xlsx"), {"constant_memory": True})
    sheet = book.add_worksheet()
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            sheet.write_string(number, column, str(value))
    book.close()


def rustpy(rows: list[tuple[Any, ...]], folder: Path) -> None:
    """rustpy-xlsxwriter, which wants a dict a row."""
    documents = ({name: str(value) for name, value in zip(COLUMNS, row, strict=True)} for row in rows)
    import_module("rustpy_xlsxwriter").write_worksheet(documents, str(folder / "peer.xlsx"))


async def pyarrow_alone(bench: Bench) -> None:
    """CSV in memory to Parquet, as fast as the child does it."""
    from pyarrow import csv, parquet

    read = csv.read_csv(io.BytesIO((bench.folder / "psql.csv").read_bytes()))
    parquet.write_table(read, bench.folder / "peer.parquet", compression="zstd")


async def compare(bench: Bench) -> None:
    """Each format beside its limit."""
    rows = bench.rows
    limit = await measured("psql \\copy, csv", rows, bench.psql)
    figures = {"csv": await measured("csv", rows, lambda: bench.export("csv"))}
    await measured("csv, excel_safe", rows, lambda: bench.export("csv", excel_safe=True))
    await measured("csv, gzip", rows, lambda: bench.export("csv", compression="gzip"))
    nowhere = await measured("COPY of jsonl to nowhere", rows, lambda: bench.copy_to_nowhere("jsonl"))
    figures["jsonl"] = await measured("jsonl", rows, lambda: bench.export("jsonl"))
    sheets = await measured("COPY of xlsx to nowhere", rows, lambda: bench.copy_to_nowhere("xlsx"))
    figures["xlsx"] = await measured("xlsx", rows, lambda: bench.export("xlsx"))
    alone = await measured("pyarrow alone", rows, lambda: pyarrow_alone(bench))
    figures["parquet"] = await measured("parquet", rows, lambda: bench.export("parquet"))
    print(f"csv {figures['csv'] / limit:.2f} of psql \\copy; jsonl {figures['jsonl'] / nowhere:.2f} of its COPY;")
    print(f"xlsx {figures['xlsx'] / sheets:.2f} of its COPY; parquet {figures['parquet'] / alone:.2f} of pyarrow")
    in_memory = await bench.rows_in_memory()
    for name, peer in (("xlsxwriter", xlsxwriter), ("rustpy_xlsxwriter", rustpy)):
        try:
            import_module(name)
        except ImportError:
            print(f"{name} is left out: it is not installed")
            continue
        begun = time.perf_counter()
        await asyncio.to_thread(peer, in_memory, bench.folder)
        speed = len(in_memory) / (time.perf_counter() - begun)
        print(f"{name:44} {speed:>12,.0f} rows/s   xlsx is {figures['xlsx'] / speed:.1f} times as fast")


async def memory(bench: Bench, rows: int) -> None:
    """Memory does not grow with rows."""
    for number in (rows // 10, rows):
        await bench.fill(number)
        for format_ in ("csv", "jsonl", "xlsx", "parquet"):
            await bench.export(format_)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"after {number:>10,} rows in each format: {rss_mb():.0f} MB, a child {children:.0f} MB", flush=True)


async def run(arguments: argparse.Namespace, servers: Trio, folder: Path) -> None:
    """Measure."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    await asyncio.to_thread(upgrade, settings)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(connect(settings, "bench", role=None))
        exporter = await stack.enter_async_context(connect(settings, "exporter", role=EXPORTER.role))
        bench = Bench(owner, exporter, servers, folder)
        await memory(bench, arguments.rows)
        await compare(bench)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name) / "servers") as servers:
        uvloop.run(run(arguments, servers, Path(name)))


if __name__ == "__main__":
    main()

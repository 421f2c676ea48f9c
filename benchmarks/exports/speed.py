"""Files in every format, each beside its limit and its peers, in turn, several rounds in one run.

PostgreSQL runs with fsync on; one export at a time; 10 columns. The limit of CSV is psql's \\copy, that of JSON
lines the same COPY to nowhere, that of Parquet pyarrow with CSV in memory. Ratios are medians of the ratios of
each round: of rows a second, and of the CPU seconds of all processes, PostgreSQL's among them.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.exports import peers
from benchmarks.exports.rows import FORMATS, TENANT, fill, request_of
from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.exports import ExporterPayload, FilePayload
from libs.common.contracts.services import EXPORTER
from libs.common.db import Database, connect
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Job
from services.exporter.config import Settings
from services.exporter.deps import Deps
from services.exporter.files import write_files
from services.exporter.formats import writer_of
from services.exporter.selection import select
from services.exporter.snapshots import Snapshots

SETTINGS = Settings.model_validate(
    {"database_url": "x", "nats_url": "nats://x", "blob_url": "file:///x", "link_secret": "x" * 32}
)
PEERS_AT_MOST = 100_000
"""Rows for writers that take a tenth of a millisecond for each."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which row is to be so many times as fast as which other."""

    what: str
    than: str
    goal: float


COMPARISONS = (
    Comparison("csv", "psql \\copy", 0.8),
    Comparison("jsonl", "COPY of jsonl to nowhere", 0.9),
    Comparison("xlsx", "rustpy_xlsxwriter", 1.3),
    Comparison("xlsx", "xlsxwriter", 8),
    Comparison("parquet", "pyarrow alone", 0.8),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows a second, and CPU seconds for a million rows."""

    per_s: float
    cpu_s: float


class Bench:
    """A database with opportunities, and a blob store."""

    def __init__(self, exporter: Database, servers: Trio, folder: Path) -> None:
        self.exporter = exporter
        self.address = servers.postgres.url
        self.folder = folder
        self.blobs = Blobs(BlobSettings.model_validate({"blob_url": (folder / "blobs").as_uri()}))
        self.deps = Deps(SETTINGS, exporter, self.blobs, Snapshots(), asyncio.Semaphore(1))

    async def export(self, format_: str, **options: Any) -> None:
        """Write one file."""
        payload = FilePayload(request=request_of(format_, **options))
        job: Job[ExporterPayload] = Job(new_id(), 1, TENANT, "file", ExporterPayload(payload), lambda _: None)
        await write_files(job, payload, self.deps)
        await self.blobs.delete_folder("jobs")

    async def copy_to_nowhere(self, format_: str) -> None:
        """Read what COPY sends, and drop it."""
        request = request_of(format_)
        writer = writer_of("", request, select(request, None).sql)
        async with self.exporter.copy(writer.query, tenant=TENANT, timeout_s=900, written=writer.written) as copy:
            async for _ in copy.chunks:
                pass

    async def psql(self) -> None:
        """The limit of CSV."""
        request = request_of("csv")
        query = " ".join(writer_of("", request, select(request, None).sql).query.split())
        setup = f"SET ROLE {EXPORTER.role.of_a_tenant}; SET argosy.tenant = '{TENANT}'; SET TimeZone = 'UTC'"
        copy = f"\\copy ({query}) TO '{self.folder / 'psql.csv'}' CSV HEADER"
        await asyncio.to_thread(
            subprocess.run, ["psql", self.address, "-q", "-c", setup, "-c", copy], check=True, capture_output=True
        )

    async def rows_in_memory(self, number: int) -> peers.Rows:
        """For peers, who are given rows."""
        sql = f"{select(request_of('csv'), None).sql} LIMIT {number}"
        return [tuple(row) for row in await self.exporter.fetch(sql, tenant=TENANT, timeout_s=600)]


def cpu_seconds() -> float:
    """What this process, the processes that it started, and theirs have used until now."""
    me = psutil.Process()
    used = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used


async def measured(rows: int, work: Callable[[], Awaitable[object]]) -> Speed:
    """Do it once."""
    cpu, begun = cpu_seconds(), time.perf_counter()
    await work()
    seconds = time.perf_counter() - begun
    return Speed(rows / seconds, (cpu_seconds() - cpu) / rows * 1e6)


async def contenders(bench: Bench, rows: int) -> Mapping[str, tuple[int, Callable[[], Awaitable[object]]]]:
    """By name, how many rows it writes, and how."""
    some = min(rows, PEERS_AT_MOST)
    in_memory = await bench.rows_in_memory(some)
    await bench.psql()
    content = await asyncio.to_thread((bench.folder / "psql.csv").read_bytes)
    found: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {"psql \\copy": (rows, bench.psql)}
    found |= {format_: (rows, partial(bench.export, format_)) for format_ in FORMATS}
    found |= {
        "csv, excel_safe": (rows, partial(bench.export, "csv", excel_safe=True)),
        "csv, gzip": (rows, partial(bench.export, "csv", compression="gzip")),
        "COPY of jsonl to nowhere": (rows, partial(bench.copy_to_nowhere, "jsonl")),
        "COPY of xlsx to nowhere": (rows, partial(bench.copy_to_nowhere, "xlsx")),
        "pyarrow alone": (rows, partial(asyncio.to_thread, peers.pyarrow_alone, content, bench.folder)),
    }
    for name, write in peers.writers_of_xlsx().items():
        found[name] = (some, partial(asyncio.to_thread, write, in_memory, bench.folder))
    return found


async def compare(bench: Bench, rows: int, rounds: int) -> None:
    """Print each, and each beside its limit."""
    speeds: dict[str, list[Speed]] = {}
    all_of_them = await contenders(bench, rows)
    for _ in range(rounds):
        for name, (number, work) in all_of_them.items():
            speeds.setdefault(name, []).append(await measured(number, work))
    print(f"{'':28}{'rows/s':>10}{'CPU s for 1 M':>15}")
    for name, some in speeds.items():
        per_s, cpu_s = (statistics.median(getattr(one, what) for one in some) for what in ("per_s", "cpu_s"))
        print(f"{name:28}{per_s:10,.0f}{cpu_s:15.1f}")
    for one in COMPARISONS:
        if one.than not in speeds:
            continue
        pairs = [*zip(speeds[one.what], speeds[one.than], strict=True)]
        ratios = [ours.per_s / theirs.per_s for ours, theirs in pairs]
        cpu = statistics.median(theirs.cpu_s / ours.cpu_s for ours, theirs in pairs)
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{one.what} is {statistics.median(ratios):.2f} times as fast as {one.than} (goal {one.goal:g};"
            f" rounds {each}); by CPU {cpu:.2f}"
        )


async def run(arguments: argparse.Namespace, servers: Trio, folder: Path) -> None:
    """Measure."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    await asyncio.to_thread(upgrade, settings)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(connect(settings, "bench", role=None))
        exporter = await stack.enter_async_context(connect(settings, "exporter", role=EXPORTER.role))
        await fill(owner, TENANT, arguments.rows)
        print(f"{arguments.rows:,} rows, {arguments.rounds} rounds; load of the machine {os.getloadavg()[0]:.1f}")
        await compare(Bench(exporter, servers, folder), arguments.rows, arguments.rounds)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name) / "servers") as servers:
        uvloop.run(run(arguments, servers, Path(name)))


if __name__ == "__main__":
    main()

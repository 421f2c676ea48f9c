"""python -m benchmarks.sync.writing: what a run writes, beside the plain statements in the same run.

PostgreSQL runs with fsync on; one connection; pages of 1,000 records with 300 characters of text. The limits are
the plain upsert of the same rows, and the plain INSERT … SELECT FROM unnest, page by page in turn with ours.
Beside the time of the clock it says how much time of processors was used, by this process and by PostgreSQL: on a
machine with others that is the truer figure. dlt gets the same records, twice: to append, which is its fastest,
and to merge by key, which is what a mirror does.
"""

import argparse
import asyncio
import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import uvloop
from pydantic_core import from_json, to_json

from benchmarks.peers.contenders import INSTALLED, CannotInstall, install_python
from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import RunResult, SourceSpec
from libs.common.db import Database, connect, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync.page import Record
from services.sync.reading.page_reading import map_anew
from services.sync.writing import INSERT, UPSERT, UPSERTED, Row, Target, batch_of, digest_of, write

TENANT = "bench"
PAGE = 1_000
WORDS = (
    *("rural", "water", "wells", "dams", "levees", "grants", "loans"),
    *("towns", "harbours", "clinics", "schools", "roads", "bridges", "repair"),
)
SPEC = SourceSpec.model_validate(
    {
        "url": "https://example.org/",
        "format": "json",
        "language": "english",
        "mapping": {"key": "id", "title": "title", "summary": "text", "closes_at": "closes", "amount_max": "most"},
    }
)
Page = list[bytes]


def source_records(number: int) -> list[dict[str, object]]:
    """Records as a source has them."""
    chance = random.Random(1)  # noqa: S311 - a benchmark's
    return [
        {
            "id": f"grant-{n}",
            "title": f"{' '.join(chance.choices(WORDS, k=6))} {n}",
            "text": " ".join(chance.choices(WORDS, k=45)),
            "closes": "2031-03-01",
            "most": n,
        }
        for n in range(number)
    ]


def mapped(records: Sequence[dict[str, object]], folder: Path) -> list[Page]:
    """Pages as the sandbox writes them."""
    kept, into = folder / "kept", folder / "lines"
    kept.write_bytes(b"".join(to_json(record) + b"\n" for record in records))
    map_anew(SPEC.model_dump_json(), kept, into)
    lines = into.read_bytes().splitlines(keepends=True)
    return [lines[start : start + PAGE] for start in range(0, len(lines), PAGE)]


def rows_of(page: Page) -> list[Row]:
    """What the plain statements are given."""
    records = [Record.model_validate(from_json(line)["record"]) for line in page]
    digests = [digest_of(line, SPEC.language) for line in page]
    return [Row(new_id(), record, digest) for record, digest in zip(records, digests, strict=True)]


async def plain(database: Database, source: UUID, pages: Sequence[list[Row]], statement: str) -> None:
    """One statement a page, and nothing else."""
    for rows in pages:
        async with database.begin(tenant=TENANT) as connection:
            arrays = UPSERTED.arrays(rows)
            await fetch_within(connection, statement, TENANT, source, source, SPEC.language, *arrays)


async def written(database: Database, source: UUID, pages: Sequence[Page]) -> RunResult:
    """As a run does it."""
    result = RunResult()
    for page in pages:
        async with database.begin(tenant=TENANT) as connection:
            await write(connection, Target(TENANT, source, source, SPEC.language), batch_of(page), result)
    return result


@dataclass
class Spent:
    """Seconds of the clock, and of processors."""

    clock_s: float = 0.0
    processors_s: float = 0.0

    async def on(self, work: Awaitable[object]) -> None:
        """Add what it takes."""
        clock, processors = time.perf_counter(), _processors_s()
        await work
        self.clock_s += time.perf_counter() - clock
        self.processors_s += _processors_s() - processors


def _processors_s() -> float:
    """Of this process and of the servers below it."""
    total = time.process_time()
    for process in psutil.Process().children(recursive=True):
        if process.is_running() and process.name().startswith("postgres"):
            times = process.cpu_times()
            total += times.user + times.system
    return total


async def measure(database: Database, number: int, folder: Path) -> Spent:
    """Print records a second. Returns what new records took."""
    records = source_records(number)
    pages = mapped(records, folder)
    ours, theirs = uuid4(), uuid4()
    inserts, new, upserts, same, parsed = (Spent() for _ in range(5))
    for page in pages:
        rows = rows_of(page)
        await inserts.on(plain(database, theirs, [rows], INSERT))
        await new.on(written(database, ours, [page]))
    await database.fetch("SELECT count(*) FROM sync.opportunities", timeout_s=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for page in pages:
        rows = rows_of(page)
        await upserts.on(plain(database, theirs, [rows], UPSERT))
        await same.on(written(database, ours, [page]))
    await parsed.on(_with_mapping(database, ours, records, folder))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{number:,} records, pages of {PAGE:,}; records a second by the clock, and by processors' time")
    for name, spent, limit in (
        ("plain INSERT … unnest", inserts, inserts),
        ("new, with history", new, inserts),
        ("plain upsert of the same", upserts, upserts),
        ("unchanged", same, upserts),
        ("unchanged, with mapping", parsed, upserts),
    ):
        ratios = (
            f"{limit.clock_s / spent.clock_s:6.2f} {limit.processors_s / spent.processors_s:6.2f} of the limit"
        )
        speeds = f"{number / spent.clock_s:>10,.0f} {number / spent.processors_s:>10,.0f}"
        print(f"  {name:28}{speeds}   {ratios if spent is not limit else ''}", flush=True)
    print(f"  memory grew by {grown / 1024:.0f} MB meanwhile")
    return new


async def _with_mapping(
    database: Database, source: UUID, records: Sequence[dict[str, object]], folder: Path
) -> None:
    for start in range(0, len(records), 50 * PAGE):
        pages = await asyncio.to_thread(mapped, records[start : start + 50 * PAGE], folder)
        await written(database, source, pages)


def beside_dlt(servers: Trio, folder: Path, number: int, ours: Spent) -> None:
    """Print how fast dlt loads the same records."""
    environment = INSTALLED / "dlt"
    try:
        install_python(environment, ["dlt[postgres]"])
    except CannotInstall as reason:
        print(f"  dlt is left out: {reason}")
        return
    lines = b"".join(to_json(record) + b"\n" for record in source_records(number))
    for disposition in ("append", "merge"):
        before = _processors_s()
        done = subprocess.run(
            [environment / "bin" / "python", "-m", "benchmarks.sync.dlt_load", folder, disposition],
            input=lines, capture_output=True, check=True,
            env=os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": servers.postgres.url,
                              "RUNTIME__DLTHUB_TELEMETRY": "false"},
        )  # fmt: skip
        clock_s, own_s = map(float, done.stdout.split()[-2:])
        theirs = Spent(clock_s, own_s + _processors_s() - before)
        speeds = f"{number / theirs.clock_s:>10,.0f} {number / theirs.processors_s:>10,.0f}"
        ratios = f"{theirs.clock_s / ours.clock_s:6.1f} {theirs.processors_s / ours.processors_s:6.1f}"
        print(f"  {f'dlt, {disposition}':28}{speeds}   ours is {ratios} times that")


async def run(servers: Trio, folder: Path, records: int) -> None:
    """All of it."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    await asyncio.to_thread(upgrade, settings)
    async with connect(settings, "bench", role=SYNC.role) as database:
        new = await measure(database, records, folder)
    await asyncio.to_thread(beside_dlt, servers, folder, records, new)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        uvloop.run(run(servers, Path(name), arguments.records))


if __name__ == "__main__":
    main()

"""python -m benchmarks.sync.writing: what a run writes, beside the plain statements in the same run.

PostgreSQL runs with fsync on; one connection; pages of 1,000 records with 300 characters of text. The limits are
the plain upsert of the same rows, and the plain INSERT … SELECT FROM unnest.
"""

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import uvloop
from pydantic_core import from_json, to_json

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import RunResult, SourceSpec
from libs.common.db import Database, connect, fetch_within
from libs.common.ledger.jobs import new_id
from services.sync.page import Record
from services.sync.reading.page_reading import map_anew
from services.sync.writing import UPSERT, UPSERTED, Row, Target, batch_of, digest_of, write

INSERT = UPSERT.partition("ON CONFLICT")[0]
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


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """How many seconds it takes."""
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def measure(database: Database, number: int, folder: Path) -> None:
    """Print records a second."""
    records = source_records(number)
    pages = mapped(records, folder)
    rows = [rows_of(page) for page in pages]
    ours, theirs = uuid4(), uuid4()
    inserts = number / await timed(lambda: plain(database, theirs, rows, INSERT))
    new = number / await timed(lambda: written(database, ours, pages))
    await database.fetch("SELECT count(*) FROM sync.opportunities", timeout_s=60)
    upserts = number / await timed(lambda: plain(database, theirs, rows, UPSERT))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    same = number / await timed(lambda: written(database, ours, pages))
    parsed = number / await timed(lambda: _with_mapping(database, ours, records, folder))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{number:,} records, pages of {PAGE:,}; records a second")
    print(f"  plain INSERT … unnest         {inserts:>10,.0f}")
    print(f"  new, with history             {new:>10,.0f}   {new / inserts:.2f} of it")
    print(f"  plain upsert of the same      {upserts:>10,.0f}")
    print(f"  unchanged                     {same:>10,.0f}   {same / upserts:.1f} times that")
    print(f"  unchanged, with mapping       {parsed:>10,.0f}   {parsed / upserts:.1f} times that")
    print(f"  memory grew by {grown / 1024:.0f} MB meanwhile")


async def _with_mapping(
    database: Database, source: UUID, records: Sequence[dict[str, object]], folder: Path
) -> None:
    for start in range(0, len(records), 50 * PAGE):
        pages = await asyncio.to_thread(mapped, records[start : start + 50 * PAGE], folder)
        await written(database, source, pages)


async def run(servers: Trio, folder: Path, records: int) -> None:
    """All of it."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    await asyncio.to_thread(upgrade, settings)
    async with connect(settings, "bench", role=SYNC.role) as database:
        await measure(database, records, folder)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        uvloop.run(run(servers, Path(name), arguments.records))


if __name__ == "__main__":
    main()

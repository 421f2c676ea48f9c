"""All files of an export are as of one moment, and there or not there together."""

import asyncio
from typing import Any

from libs.common.db import Database
from tests.exporting import Exporter
from tests.polling import until

HOLDING = "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_export_snapshot%' AND state LIKE 'idle in%'"
SUPPRESS = "INSERT INTO mail.suppressions (tenant, address, reason) VALUES ('acme', $1, 'manual')"
DEADLINE = "INSERT INTO mail.deadlines (tenant, name, due_at, variables) VALUES ('acme', $1, now(), '{}')"
SEVERAL: dict[str, Any] = {
    "dataset": "suppressions",
    "format": "csv",
    "columns": ["address"],
    "also": [
        {"dataset": "deadlines", "format": "jsonl", "columns": ["name"]},
        {"dataset": "suppressions", "format": "csv", "filter": {"reason": ["manual"]}, "columns": ["reason"]},
        {"dataset": "deadlines", "format": "parquet", "columns": ["name"]},
        {"dataset": "suppressions", "format": "xlsx", "columns": ["address"]},
    ],
}


async def hold_back(exporter: Exporter) -> None:
    """Take all places, so that no file is begun."""
    for _ in range(exporter.deps.settings.export_concurrency):
        await exporter.deps.places.acquire()


def let_go(exporter: Exporter) -> None:
    for _ in range(exporter.deps.settings.export_concurrency):
        exporter.deps.places.release()


async def test_several_files_are_as_of_one_moment(exporter: Exporter, database: Database) -> None:
    """What is committed after the snapshot, and before the files are read, is in none of them."""
    for sql in (SUPPRESS, DEADLINE):
        await database.fetch(sql, "before")
    job = await exporter.submit(**SEVERAL)
    await hold_back(exporter)
    working = asyncio.create_task(exporter.work())

    async def is_held() -> bool:
        return bool(await database.fetch(HOLDING))

    await until(is_held)
    for sql in (SUPPRESS, DEADLINE):
        await database.fetch(sql, "after")
    let_go(exporter)
    await working
    files = await exporter.files(job)
    assert [file.name for file in files] == [
        *("suppressions.csv", "deadlines.jsonl", "suppressions-2.csv", "deadlines.parquet", "suppressions.xlsx"),
    ]
    assert [file.manifest["rows"] for file in files] == [1] * 5
    assert files[0].content == b"address\nbefore\n"
    assert files[1].content == b'{"name":"before"}\n'
    assert files[2].content == b"reason\nmanual\n"
    result = files[0].result
    assert (result["rows"], result["bytes"], result["sheets"]) == (5, sum(len(file.content) for file in files), 1)
    assert len(await database.fetch("SELECT FROM export.files WHERE job = $1", job.id)) == 2
    assert await database.fetch(HOLDING) == []


async def test_one_file_that_cannot_be_written_fails_all_and_is_named(exporter: Exporter) -> None:
    since = {"dataset": "opportunities", "format": "csv", "since": "job_" + "0" * 32}
    job = await exporter.submit(**SEVERAL | {"also": [since]})
    await exporter.work()
    facts = await exporter.facts(job)
    assert (facts["state"], facts["errors"][-1]["code"], facts["artifacts"]) == ("failed", "since_unknown", None)
    assert facts["errors"][-1]["message"].startswith("opportunities.csv: The export that `since` names")

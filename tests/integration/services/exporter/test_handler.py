"""One whole file or none, whoever is killed, cancelled or away; and the file is of one moment."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts.exports import ExporterPayload
from libs.common.contracts.mail import AddressedRecipient, Letter, MailPayload
from libs.common.db import Database, fetch_within
from libs.common.errors import StorageUnavailable
from libs.common.handler_testkit import enqueued
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from libs.common.worker.worker import Worker
from services.exporter import files
from services.exporter.handler import handle
from tests.exporting import SUPPRESSIONS, Exporter
from tests.polling import until

COPYING = """
SELECT FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active' AND datname = current_database()
"""
LESS = "DELETE FROM mail.suppressions WHERE address = $1"
MORE = "INSERT INTO mail.suppressions (tenant, address, reason) VALUES ('acme', $1, 'manual')"
MANY = 200_000
WANTED: dict[str, Any] = {"dataset": "suppressions", "format": "csv"}


async def is_copying(database: Database) -> bool:
    return bool(await database.fetch(COPYING))


def worker_of(exporter: Exporter) -> Worker[Any, Any]:
    """A worker that gives its jobs no time when it stops."""
    return Worker(
        "exporter", ExporterPayload, handle, exporter.deps,
        database=exporter.database, bus=exporter.bus, slots=1, grace_s=0.1,
    )  # fmt: skip


@pytest.mark.parametrize("format_", ["csv", "xlsx", "parquet"])
async def test_a_cancel_stops_the_copy_on_the_server(
    exporter: Exporter, database: Database, tmp_path: Path, format_: str
) -> None:
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    exporter.pace(1000)
    job = await exporter.submit(**WANTED | {"format": format_})
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = $1", job.id)
    worker = worker_of(exporter)
    async with worker.lease.kept():
        await worker.begin([job.id])
        (running,) = worker.lease.held.values()

        async def under_way() -> bool:
            return await is_copying(database)

        await until(under_way)
        stop = asyncio.Event()
        stop.set()
        await worker.run(stop)  # the grace is over at once: the job is released
        assert running.task is not None
        await running.task
    assert (await exporter.facts(job))["state"] == "queued"

    async def has_stopped() -> bool:
        return not await is_copying(database)

    await until(has_stopped)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size] == []
    exporter.pace(0)
    await exporter.work()
    file = await exporter.file(job)
    assert file.result["rows"] == MANY


async def test_writers_at_full_speed_change_nothing_in_the_file(exporter: Exporter, database: Database) -> None:
    await database.fetch(SUPPRESSIONS, "acme", 50_000)
    stop = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            written += 1
            async with database.begin() as connection:  # one more and one less: their number is always the same
                await fetch_within(connection, LESS, f"a{written}@example.com")
                await fetch_within(connection, MORE, f"b{written}@example.com")

    writing = asyncio.create_task(write())
    exported = [await exporter.export(**WANTED) for _ in range(3)]
    stop.set()
    await writing
    assert written > 1
    for file in exported:
        rows = list(csv.DictReader(io.StringIO(file.content.decode())))
        assert len(rows) == file.result["rows"] == 50_000
        replaced = {int(row["address"][1:-12]) for row in rows if row["address"].startswith("b")}
        left = {int(row["address"][1:-12]) for row in rows if row["address"].startswith("a")}
        assert replaced == {*range(1, len(replaced) + 1)}
        assert left == {*range(len(replaced) + 1, 50_001)}


async def test_a_store_that_is_away_costs_no_attempt_and_leaves_no_file(
    exporter: Exporter, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await database.fetch(SUPPRESSIONS, "acme", 10)
    blobs = tmp_path / "blobs"
    away = tmp_path / "away"
    blobs.rename(away)
    job = await exporter.submit(**WANTED)
    await exporter.work()
    facts = await exporter.facts(job)
    assert (facts["state"], facts["failures"]) == ("scheduled", 0)
    assert facts["errors"][-1]["code"] == "storage_unavailable"
    assert facts["artifacts"] is None
    away.rename(blobs)
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", job.id)
    await exporter.work()
    assert (await exporter.file(job)).result["rows"] == 10


async def test_a_crash_before_the_end_is_written_names_no_file(
    exporter: Exporter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploaded, and not committed: the next attempt writes its own file, and only that is named."""
    await database.fetch(SUPPRESSIONS, "acme", 10)
    job = await exporter.submit(**WANTED)
    written = files._write_manifest

    async def fail(*_: Any) -> Any:
        monkeypatch.setattr(files, "_write_manifest", written)
        raise StorageUnavailable

    monkeypatch.setattr(files, "_write_manifest", fail)
    await exporter.work()
    assert (await exporter.facts(job))["artifacts"] is None
    assert await database.fetch("SELECT FROM export.files") == []
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", job.id)
    await exporter.work()
    facts = await exporter.facts(job)
    assert facts["attempt"] == 2
    assert all("/2/" in artifact["key"] for artifact in facts["artifacts"])
    assert len(await database.fetch("SELECT FROM export.files")) == 1
    await exporter.file(job)


async def test_a_letter_is_sent_with_the_end_and_not_otherwise(exporter: Exporter, database: Database) -> None:
    letter = MailPayload(
        letter=Letter(sender="office@example.com", text="{{ link }}"),
        recipients=(AddressedRecipient(address="ada@example.com", variables={"name": "Ada"}),),
        is_template=True,
    )
    await database.fetch(SUPPRESSIONS, "acme", 3)
    job = await exporter.submit(letter=letter, **WANTED)
    assert await enqueued(database, queue="mailer") == []
    await exporter.work()
    (sent,) = await enqueued(database, queue="mailer")
    assert (sent["tenant"], sent["created_by"], sent["kind"]) == ("acme", "key", "letter")
    (recipient,) = sent["payload"]["recipients"]
    assert recipient["variables"]["name"] == "Ada"
    assert recipient["variables"]["rows"] == 3
    assert recipient["variables"]["link"].startswith("http://")
    assert (await exporter.facts(job))["state"] == "succeeded"


async def test_what_takes_too_long_is_told(exporter: Exporter, database: Database) -> None:
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    exporter.pace(1000, export_timeout_s=0.5)
    job = await exporter.submit(**WANTED)
    await exporter.work()
    facts = await exporter.facts(job)
    assert (facts["state"], facts["errors"][-1]["code"]) == ("failed", "too_slow")
    assert facts["errors"][-1]["message"].startswith("suppressions.csv: Reading the rows took too long.")


async def test_old_exports_are_forgotten(exporter: Exporter, database: Database) -> None:
    for _ in range(2):
        await exporter.export(**WANTED)
    await database.fetch(
        "UPDATE export.files SET at = now() - interval '401 days'"
        " WHERE job = (SELECT job FROM export.files ORDER BY at LIMIT 1)"
    )
    job = NewJob("argosy", "argosy", "exporter", "housekeeping", b"{}")
    await accept(exporter.gateway, [job], ticketed=[False])
    await exporter.work()
    assert (await exporter.facts(job))["result"] == {"forgotten": 1}
    assert len(await database.fetch("SELECT FROM export.files")) == 1

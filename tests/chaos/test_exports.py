"""Workers killed at every point of an export, buckets that refuse or are slow: one whole file, or none."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.test_servers import Trio
from libs.common.blobs import job_folder
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from libs.common.ledger import requeueing
from libs.common.ledger.jobs import NewJob
from tests import bucket as buckets
from tests.bucket import Bucket
from tests.chaos.one_exporter import HALF, POINTS
from tests.exporting import LINK_SECRET, SUPPRESSIONS, Exporter, exporting
from tests.polling import until

ROOT = Path(__file__).resolve().parents[2]
MANY = 150_000
WANTED: dict[str, Any] = {
    "dataset": "suppressions",
    "format": "csv",
    "also": [{"dataset": "suppressions", "format": "parquet"}],
}
CHILD = "services.exporter.parquet_child"


@pytest.fixture
async def exporter(
    export_database: Database, gateway_database: Database, nats_bus: Bus, tmp_path: Path
) -> AsyncIterator[Exporter]:
    async with exporting(export_database, gateway_database, nats_bus, tmp_path / "blobs") as made:
        yield made


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with buckets.serving() as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.fixture
async def uploading(
    export_database: Database, gateway_database: Database, nats_bus: Bus, bucket: Bucket
) -> AsyncIterator[Exporter]:
    """An exporter whose blob store is the bucket."""
    async with exporting(export_database, gateway_database, nats_bus, "s3://bucket") as made:
        yield made


def children(folder: Path) -> list[psutil.Process]:
    """The processes that make Parquet, of workers whose files are in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if CHILD in process.cmdline() and process.environ().get("ARGOSY_RUN_DIR") == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def blobs_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def has_one_whole_file_each(exporter: Exporter, database: Database, job: NewJob) -> None:
    """The job has succeeded, its files are what the manifest says, and each was ended once."""
    files = await exporter.files(job)
    assert [file.manifest["rows"] for file in files] == [MANY, MANY]
    assert files[0].content.count(b"\n") == MANY + 1
    rows = await database.fetch("SELECT rows FROM export.files WHERE job = $1", job.id)
    assert [row[0] for row in rows] == [2 * MANY]


@pytest.mark.parametrize("point", POINTS)
async def test_one_whole_file_or_none_whoever_is_killed(
    exporter: Exporter,
    database: Database,
    database_settings: DatabaseSettings,
    servers: Trio,
    tmp_path: Path,
    point: str,
) -> None:
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    job = await exporter.submit(**WANTED)
    environment = os.environ | {
        "DATABASE_URL": database_settings.database_url.get_secret_value(),
        "NATS_URL": servers.nats.url,
        "BLOB_URL": (tmp_path / "blobs").as_uri(),
        "LINK_SECRET": LINK_SECRET,
        "ARGOSY_RUN_DIR": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.one_exporter", point, cwd=ROOT, env=environment
    )
    assert await process.wait() == -signal.SIGKILL
    facts = await exporter.facts(job)
    if point == "committed, not told":
        assert facts["state"] == "succeeded"
    else:
        assert (facts["artifacts"], await database.fetch("SELECT FROM export.files")) == (None, [])
        await exporter.gateway.fetch("UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour'")
        assert (await requeueing.recover(exporter.gateway)).jobs
        await exporter.work()
    await has_one_whole_file_each(exporter, database, job)
    artifacts = (await exporter.facts(job))["artifacts"]
    assert blobs_in(tmp_path / "blobs") == {tmp_path / "blobs" / artifact["key"] for artifact in artifacts}

    async def has_no_children() -> bool:
        return not children(tmp_path)

    await until(has_no_children)
    await exporter.deps.blobs.delete_folder(job_folder("acme", job.id))
    assert blobs_in(tmp_path / "blobs") == set()


async def test_a_child_that_is_killed_costs_an_attempt_and_leaves_no_file(
    exporter: Exporter, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGOSY_RUN_DIR", str(tmp_path))
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    exporter.pace(MANY // 5)
    job = await exporter.submit(dataset="suppressions", format="parquet")
    working = asyncio.create_task(exporter.work())

    async def has_children() -> list[psutil.Process]:
        return children(tmp_path)

    for child in await until(has_children):
        child.kill()
    await working  # the second attempt too
    facts = await exporter.facts(job)
    assert (facts["attempt"], facts["failures"]) == (2, 1)
    assert [error["code"] for error in facts["errors"]] == ["child_failed"]
    assert (await exporter.file(job)).result["rows"] == MANY
    named = {tmp_path / "blobs" / artifact["key"] for artifact in facts["artifacts"]}
    assert blobs_in(tmp_path / "blobs") == named


async def test_a_bucket_that_refuses_half_way_costs_no_attempt_and_keeps_no_parts(
    uploading: Exporter, database: Database, bucket: Bucket
) -> None:
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    bucket.refuses_after_parts = 1
    job = await uploading.submit(dataset="suppressions", format="csv")
    await uploading.work()
    facts = await uploading.facts(job)
    assert (facts["state"], facts["failures"], facts["artifacts"]) == ("scheduled", 0, None)
    assert facts["errors"][-1]["code"] == "storage_unavailable"
    assert bucket.blobs == {}
    bucket.refuses_after_parts = None
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", job.id)
    await uploading.work()
    made = await uploading.file(job)
    assert (made.result["rows"], len(made.content) > HALF) == (MANY, True)
    assert bucket.parts == {}


async def test_a_slow_bucket_gets_the_whole_file(uploading: Exporter, database: Database, bucket: Bucket) -> None:
    await database.fetch(SUPPRESSIONS, "acme", MANY)
    bucket.slow_s = 1.0  # its client would not wait for 2 s
    job = await uploading.submit(dataset="suppressions", format="csv")
    await uploading.work()
    assert (await uploading.file(job)).result["rows"] == MANY
    assert (bucket.parts, len(bucket.blobs)) == ({}, 2)

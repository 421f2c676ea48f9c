"""The blob store when it does not do what it should: a bucket that refuses, hangs or breaks off, a full disk."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from libs.common import background
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.errors import BlobMissing, StorageUnavailable
from tests import bucket as buckets
from tests.bucket import Bucket
from tests.polling import until

ROOT = Path(__file__).resolve().parents[4]
MANY = bytes(range(256)) * 4096 * 12
"""12 MB."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with buckets.serving() as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.fixture
def blobs(bucket: Bucket) -> Blobs:
    return Blobs(BlobSettings.model_validate({"blob_url": "s3://bucket"}))


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(blobs: Blobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key)])


async def every_operation(blobs: Blobs, tmp_path: Path) -> list[str]:
    """The messages of the errors that all operations end with."""
    (tmp_path / "file").write_bytes(b"x")
    operations = (
        lambda: blobs.write("k", pieces(b"x")),
        lambda: blobs.write_file("k", tmp_path / "file"),
        lambda: read(blobs, "k"),
        lambda: blobs.read_file("k", tmp_path / "copy"),
        lambda: blobs.find("k"),
        lambda: blobs.copy("k", "l"),
        lambda: blobs.delete("k"),
        lambda: blobs.delete_folder("jobs"),
    )
    messages = []
    for operation in operations:
        with pytest.raises(StorageUnavailable) as failed:
            await operation()
        messages.append(str(failed.value))
    return messages


async def test_a_bucket_that_answers_does_all_operations(blobs: Blobs, bucket: Bucket, tmp_path: Path) -> None:
    await blobs.write("jobs/1/upload", pieces(MANY, b"end"))
    assert await read(blobs, "jobs/1/upload") == MANY + b"end"
    await blobs.copy("jobs/1/upload", "other")
    await blobs.find("other")
    await blobs.delete_folder("jobs/1")
    assert set(bucket.blobs) == {"other"}
    await blobs.delete("other")
    for missing in (blobs.find("other"), read(blobs, "other"), blobs.copy("other", "more")):
        with pytest.raises(BlobMissing):
            await missing
    assert blobs.available


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((503, "SlowDown"), "The blob store has an error of its own."),
        ((403, "AccessDenied"), "The blob store refuses access."),
        ((401, "Expired"), "The blob store refuses access."),
        ((507, "Full"), "The blob store is full."),
    ],
)
async def test_a_refusal_is_an_outage_and_shows_no_address(
    blobs: Blobs, bucket: Bucket, tmp_path: Path, refusal: tuple[int, str], message: str
) -> None:
    bucket.refuses = refusal
    assert set(await every_operation(blobs, tmp_path)) == {message}


async def test_a_bucket_that_is_gone_is_an_outage_and_no_missing_blob(blobs: Blobs, bucket: Bucket) -> None:
    bucket.refuses = (404, "NoSuchBucket")
    for operation in (read(blobs, "k"), blobs.write("k", pieces(b"x")), blobs.delete("k"), blobs.copy("k", "l")):
        with pytest.raises(StorageUnavailable):
            await operation


async def test_a_bucket_that_does_not_answer_is_an_outage(blobs: Blobs, bucket: Bucket) -> None:
    bucket.hangs = True
    operations = (read(blobs, "k"), blobs.write("k", pieces(b"x")), blobs.delete_folder("jobs"))
    ends = await asyncio.gather(*operations, return_exceptions=True)
    assert [type(end) for end in ends] == [StorageUnavailable] * 3
    assert not blobs.available


async def test_a_reader_slower_than_the_client_of_the_bucket_waits_gets_all(blobs: Blobs, bucket: Bucket) -> None:
    """The client ends a request after 2 s here, and after 30 s by default."""
    bucket.blobs["k"] = MANY * 4
    got = bytearray()
    async for chunk in blobs.read("k"):
        if not got:
            await asyncio.sleep(3)
        got += chunk
    assert bytes(got) == MANY * 4
    assert bucket.reads > 1, "the request has been ended, or this test proves nothing"
    assert blobs.available, "a slow reader is no error of the store"


async def test_a_stream_that_breaks_off_is_taken_up(blobs: Blobs, bucket: Bucket) -> None:
    bucket.blobs["k"], bucket.cuts_after = MANY, 5_000_000
    assert await read(blobs, "k") == MANY


async def test_a_stream_that_breaks_off_for_good_ends_with_an_error(blobs: Blobs, bucket: Bucket) -> None:
    bucket.blobs["k"], bucket.cuts_after, bucket.refuses_after_cut = MANY, 5_000_000, True
    with pytest.raises(StorageUnavailable):
        await read(blobs, "k")
    assert bucket.reads > 0


async def test_an_outage_is_counted_and_its_end_noticed_without_a_caller(blobs: Blobs, bucket: Bucket) -> None:
    labels = {"operation": "find", "error": "server_error"}
    before = REGISTRY.get_sample_value("argosy_storage_errors_total", labels) or 0
    bucket.refuses = (503, "SlowDown")
    with pytest.raises(StorageUnavailable):
        await blobs.find("k")
    assert REGISTRY.get_sample_value("argosy_storage_errors_total", labels) == before + 1
    async with background.alongside(background.optional(blobs.watch())):
        assert not blobs.available
        bucket.refuses = None

        async def is_back() -> bool:
            return blobs.available

        await until(is_back)
    assert bucket.blobs == {}, "what was written to find out is gone"


FULL = """
import asyncio, resource, signal, sys
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.errors import StorageUnavailable

async def chunks():
    for _ in range(20):
        yield bytes(1024 * 1024)

async def main():
    blobs = Blobs(BlobSettings.model_validate({"blob_url": sys.argv[1]}))
    try:
        await blobs.write("jobs/1/upload", chunks())
    except StorageUnavailable as error:
        print(type(error).__name__, error)

asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk")
def test_a_full_disk_is_an_outage_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        url = (disk / "blobs").as_uri()
        told = subprocess.run([sys.executable, "-c", FULL, url], check=True, capture_output=True, text=True)
        assert "StorageUnavailable The blob store is full." in told.stdout
        assert [path for path in disk.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("ending", ["cancelled", "failed"])
async def test_a_write_that_ends_early_leaves_no_parts(blobs: Blobs, bucket: Bucket, ending: str) -> None:
    sent = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while len(bucket.parts) < 2:
            yield MANY[:1_000_000]
        sent.set()
        if ending == "failed":
            raise ZeroDivisionError
        await asyncio.Event().wait()

    writing = asyncio.create_task(blobs.write("k", endless()))
    await sent.wait()
    assert len(bucket.parts) >= 2
    if ending == "cancelled":
        writing.cancel()
    with pytest.raises((asyncio.CancelledError, ZeroDivisionError)):
        await writing
    assert (bucket.parts, bucket.blobs) == ({}, {})
    assert blobs.available, "that was not the bucket's fault"


async def test_what_a_killed_process_was_writing_goes_with_its_folder(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from libs.common.blobs import Blobs\n"
        "from libs.common.config import BlobSettings\n"
        "async def chunks():\n"
        "    for _ in range(20):\n"
        "        yield bytes(1_000_000)\n"
        "    os.kill(os.getpid(), 9)\n"
        "blobs = Blobs(BlobSettings.model_validate({'blob_url': sys.argv[1]}))\n"
        "asyncio.run(blobs.write('jobs/a/1/file', chunks()))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, tmp_path.as_uri(), cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL
    assert [path for path in tmp_path.rglob("*") if path.is_file()], (
        "it has left something, or this proves nothing"
    )
    blobs = Blobs(BlobSettings.model_validate({"blob_url": tmp_path.as_uri()}))
    await blobs.write("jobs/a/2/file", pieces(b"x"))
    await blobs.delete_folder("jobs/a/1")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "jobs/a/2/file"]

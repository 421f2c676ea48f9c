"""Byte strings in a folder: whole or not at all."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.blobs import Blobs, Stored, job_folder
from libs.common.config import BlobSettings
from libs.common.errors import BlobMissing, StorageUnavailable
from libs.common.ledger.jobs import new_id


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    folder = tmp_path / "a folder"
    return Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start=start, end=end)])


async def test_what_is_written_is_read(blobs: Blobs) -> None:
    stored = await blobs.write("a/b", pieces(b"one", b"two"))
    assert stored == Stored(6, hashlib.sha256(b"onetwo").hexdigest())
    assert await read(blobs, "a/b") == b"onetwo"
    assert await read(blobs, "a/b", 1, 4) == b"net"
    assert await read(blobs, "a/b", 4) == b"wo"


async def test_a_write_that_breaks_off_leaves_nothing(blobs: Blobs) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"x" * 20_000_000
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await blobs.write("k", breaks())
    with pytest.raises(BlobMissing):
        await read(blobs, "k")


async def test_files_there_and_back(blobs: Blobs, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 10_000)
    await blobs.write_file("k", source)
    await blobs.read_file("k", target)
    assert target.read_bytes() == source.read_bytes()


async def test_deleting_what_is_not_there_is_no_error(blobs: Blobs) -> None:
    await blobs.write("k", pieces(b"x"))
    await blobs.delete("k")
    await blobs.delete("k")
    with pytest.raises(BlobMissing):
        await read(blobs, "k")


async def test_an_overwritten_key_has_the_last_content_whole(blobs: Blobs) -> None:
    await blobs.write("k", pieces(b"a long first content"))
    assert await blobs.write("k", pieces(b"short")) == Stored(5, hashlib.sha256(b"short").hexdigest())
    assert await read(blobs, "k") == b"short"


async def test_nothing_at_all_can_be_stored(blobs: Blobs) -> None:
    assert await blobs.write("empty", pieces()) == Stored(0, hashlib.sha256(b"").hexdigest())
    assert await read(blobs, "empty") == b""


async def test_a_range_that_reaches_beyond_the_end_ends_there(blobs: Blobs) -> None:
    await blobs.write("k", pieces(b"onetwo"))
    assert await read(blobs, "k", 4, 100) == b"wo"
    assert await read(blobs, "k", 0, 3) == b"one"


async def test_a_folder_goes_with_all_that_is_in_it_and_its_neighbours_stay(blobs: Blobs) -> None:
    for key in ("jobs/dev/1/input", "jobs/dev/1/2/text.txt", "jobs/dev/10/input", "jobs/dev/1x"):
        await blobs.write(key, pieces(b"x"))
    await blobs.delete_folder("jobs/dev/1")
    await blobs.delete_folder("jobs/dev/1")
    for key in ("jobs/dev/1/input", "jobs/dev/1/2/text.txt"):
        with pytest.raises(BlobMissing):
            await read(blobs, key)
    assert [await read(blobs, key) for key in ("jobs/dev/10/input", "jobs/dev/1x")] == [b"x", b"x"]


async def test_a_copy_stays_when_its_source_goes(blobs: Blobs) -> None:
    await blobs.write("source", pieces(b"x"))
    await blobs.copy("source", "target")
    await blobs.delete("source")
    assert await read(blobs, "target") == b"x"
    with pytest.raises(BlobMissing):
        await blobs.copy("source", "elsewhere")


@pytest.mark.parametrize("in_its_place", [None, b"a file"])
async def test_a_folder_that_is_away_is_an_outage_and_not_made_anew(
    blobs: Blobs, tmp_path: Path, in_its_place: bytes | None
) -> None:
    """As of a disk that is not mounted: nothing seems missing, and nothing is written where nobody looks later."""
    folder = tmp_path / "a folder"
    await blobs.write("jobs/1/upload", pieces(b"x"))
    folder.rename(tmp_path / "aside")
    if in_its_place is not None:
        folder.write_bytes(in_its_place)
    for operation in (
        lambda: read(blobs, "jobs/1/upload"),
        lambda: blobs.find("jobs/1/upload"),
        lambda: blobs.write("k", pieces(b"x")),
        lambda: blobs.copy("jobs/1/upload", "k"),
        lambda: blobs.delete("jobs/1/upload"),
        lambda: blobs.delete_folder("jobs/1"),
    ):
        with pytest.raises(StorageUnavailable) as away:
            await operation()
        assert str(tmp_path) not in str(away.value)
    assert not blobs.available
    await blobs.discard("jobs/1")
    assert not folder.is_dir()
    folder.unlink(missing_ok=True)
    (tmp_path / "aside").rename(folder)
    assert await read(blobs, "jobs/1/upload") == b"x"
    await blobs.delete_folder("jobs/1")


async def test_a_process_starts_while_the_folder_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.write_bytes(b"a file")
    blobs = Blobs(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
    with pytest.raises(StorageUnavailable):
        await blobs.write("k", pieces(b"x"))
    folder.unlink()
    folder.mkdir()
    await blobs.write("k", pieces(b"x"))
    assert await read(blobs, "k") == b"x"
    assert blobs.available


@pytest.mark.parametrize(
    "error", [OSError(28, "of the caller"), FileNotFoundError("of the caller"), ValueError("no")]
)
async def test_an_error_of_what_is_written_is_not_the_stores(blobs: Blobs, error: Exception) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"x"
        raise error

    with pytest.raises(type(error)) as raised:
        await blobs.write("k", breaks())
    assert raised.value is error
    assert blobs.available


def test_each_job_of_each_tenant_has_a_folder_of_its_own() -> None:
    one, other = new_id(), new_id()
    assert len({job_folder("a", one), job_folder("a", other), job_folder("b", one)}) == 3

"""Byte strings in a folder: whole or not at all."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.blobs import Blobs, Stored
from libs.common.config import BlobSettings


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
    with pytest.raises(FileNotFoundError):
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
    with pytest.raises(FileNotFoundError):
        await read(blobs, "k")

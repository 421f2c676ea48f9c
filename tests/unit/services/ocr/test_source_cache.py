"""A document is fetched once for all of its pages, and goes when others are wanted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from services.ocr.refusals import SourceMissing
from services.ocr.source_cache import KEPT_IDLE, SourceCache


class Counted(Blobs):
    """A store that counts what is fetched, and holds it up while `gate` is closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(BlobSettings.model_validate({"blob_url": folder.as_uri()}))
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_file(self, key: str, path: Path) -> None:
        self.fetched.append(key)
        await self.gate.wait()
        await super().read_file(key, path)

    async def put(self, *keys: str) -> None:
        async def content(key: str) -> AsyncIterator[bytes]:
            yield f"content of {key}".encode()

        for key in keys:
            await self.write(key, content(key))


@pytest.fixture
def blobs(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    return tmp_path / "sources"


async def test_pages_that_are_read_at_once_share_one_file(blobs: Counted, folder: Path) -> None:
    await blobs.put("a")
    cache = SourceCache(blobs, folder)

    async def read() -> str:
        async with cache.open("a") as path:
            return path.read_text()

    assert await asyncio.gather(*(read() for _ in range(5))) == ["content of a"] * 5
    assert await read() == "content of a"
    assert blobs.fetched == ["a"]
    await cache.close()


async def test_what_is_missing_is_looked_for_again_the_next_time(blobs: Counted, folder: Path) -> None:
    cache = SourceCache(blobs, folder)
    for _ in range(2):
        with pytest.raises(SourceMissing):
            async with cache.open("a"):
                raise AssertionError
    assert list(folder.iterdir()) == []
    await blobs.put("a")
    async with cache.open("a") as path:
        assert path.read_text() == "content of a"
    await cache.close()


async def test_of_those_that_nobody_reads_the_latest_are_kept(blobs: Counted, folder: Path) -> None:
    names = [f"n{number}" for number in range(KEPT_IDLE + 3)]
    await blobs.put("held", *names)
    cache = SourceCache(blobs, folder)
    async with cache.open("held") as held:
        for name in names:
            async with cache.open(name):
                pass
        assert held.exists(), "somebody reads it"
        assert len(list(folder.iterdir())) == KEPT_IDLE + 1
        for name in (names[-1], names[0]):
            async with cache.open(name):
                pass
    assert blobs.fetched == ["held", *names, names[0]]
    assert len(list(folder.iterdir())) == KEPT_IDLE
    await cache.close()


async def test_many_at_once_all_have_their_files(blobs: Counted, folder: Path) -> None:
    names = [f"n{number}" for number in range(3 * KEPT_IDLE)]
    await blobs.put(*names)
    cache = SourceCache(blobs, folder)
    async with AsyncExitStack() as stack:
        paths = [await stack.enter_async_context(cache.open(name)) for name in names]
        assert [path.read_text() for path in paths] == [f"content of {name}" for name in names]
    await cache.close()


async def test_who_gives_up_does_not_take_the_file_from_others(blobs: Counted, folder: Path) -> None:
    await blobs.put("a")
    blobs.gate.clear()
    cache = SourceCache(blobs, folder)

    async def read() -> str:
        async with cache.open("a") as path:
            return path.read_text()

    first, second = asyncio.create_task(read()), asyncio.create_task(read())
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    blobs.gate.set()
    assert await second == "content of a"
    assert blobs.fetched == ["a"]
    await cache.close()


async def test_closed_it_fetches_no_more(blobs: Counted, folder: Path) -> None:
    await blobs.put("a")
    blobs.gate.clear()
    cache = SourceCache(blobs, folder)

    async def read() -> None:
        async with cache.open("a"):
            raise AssertionError

    reading = asyncio.create_task(read())
    for _ in range(5):
        await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert list(folder.iterdir()) == []

"""A local cache of source documents: the jobs of a document's pages share one downloaded file."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.common import background
from libs.common.blobs import Blobs
from libs.common.errors import BlobMissing
from services.ocr.refusals import SourceMissing

KEPT_IDLE = 4
"""Documents that are kept although no job uses them: the job of the next page may come soon."""


@dataclass(slots=True)
class _CachedFile:
    download: "asyncio.Task[Path]"
    readers: int = 0


class SourceCache:
    """Downloads files from the blob store into `folder`, once for all concurrent readers."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder
        self._files: OrderedDict[str, _CachedFile] = OrderedDict()
        self._numbers = 0

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Path]:
        """Yield a local copy of the file `key`, valid while the block runs. Raises SourceMissing, Unavailable."""
        cached = self._files.get(key)
        if cached is None:
            self._numbers += 1
            path = self._folder / f"source-{self._numbers}"
            cached = self._files[key] = _CachedFile(asyncio.create_task(self._download(key, path)))
        cached.readers += 1
        try:
            yield await asyncio.shield(cached.download)
        finally:
            cached.readers -= 1
            if self._files.get(key) is cached:
                self._files.move_to_end(key)
            self._evict_idle()

    async def close(self) -> None:
        """Cancel all downloads."""
        await background.end([cached.download for cached in self._files.values()])

    async def _download(self, key: str, path: Path) -> Path:
        try:
            await self._blobs.read_file(key, path)
        except BlobMissing:
            self._forget(key, path)
            raise SourceMissing from None
        except BaseException:
            self._forget(key, path)
            raise
        return path

    def _forget(self, key: str, path: Path) -> None:
        self._files.pop(key, None)
        path.unlink(missing_ok=True)

    def _evict_idle(self) -> None:
        idle = [key for key, cached in self._files.items() if not cached.readers and cached.download.done()]
        for key in idle[: max(0, len(idle) - KEPT_IDLE)]:
            self._files.pop(key).download.result().unlink(missing_ok=True)

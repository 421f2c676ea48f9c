"""Documents whose pages are being read, kept on this machine: its pages come one by one, and share the file."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.common import background
from libs.common.blobs import Blobs
from services.ocr.refusals import SourceMissing

KEPT = 4
"""Documents that nobody is reading are kept up to this number: the next page may be along soon."""


@dataclass(slots=True)
class _Held:
    fetching: "asyncio.Task[Path]"
    readers: int = 0


class SourceCache:
    """Files of the blob store in a folder of this process."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._numbers = 0

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Path]:
        """The file behind `key` while the block runs. Raises SourceMissing."""
        held = self._held.get(key)
        if held is None:
            self._numbers += 1
            path = self._folder / f"source-{self._numbers}"
            held = self._held[key] = _Held(asyncio.create_task(self._fetch(key, path)))
        held.readers += 1
        try:
            yield await asyncio.shield(held.fetching)
        finally:
            held.readers -= 1
            if self._held.get(key) is held:
                self._held.move_to_end(key)
            self._let_go()

    async def close(self) -> None:
        """Fetch no more."""
        await background.end([held.fetching for held in self._held.values()])

    async def _fetch(self, key: str, path: Path) -> Path:
        try:
            await self._blobs.read_file(key, path)
        except FileNotFoundError:
            self._forget(key, path)
            raise SourceMissing from None
        except BaseException:
            self._forget(key, path)
            raise
        return path

    def _forget(self, key: str, path: Path) -> None:
        self._held.pop(key, None)
        path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        idle = [key for key, held in self._held.items() if not held.readers and held.fetching.done()]
        for key in idle[: max(0, len(idle) - KEPT)]:
            self._held.pop(key).fetching.result().unlink(missing_ok=True)

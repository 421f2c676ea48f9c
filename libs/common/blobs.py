"""The blob store for uploads and artifacts: a folder or a bucket.

A blob is written before the database row that refers to it.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import obstore
from obstore.store import from_url

from libs.common.config import BlobSettings

CHUNK = 1024 * 1024
"""Bytes read or streamed at a time."""


def job_folder(tenant: str, job_id: UUID) -> str:
    """The key prefix of everything that belongs to a job: its upload and the artifacts of its attempts."""
    return f"jobs/{tenant}/{job_id.hex}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written: `size` in bytes, and the SHA-256 of the content in hex."""

    size: int
    sha256: str


class Blobs:
    """Stores byte strings under keys such as `jobs/<tenant>/<id>/input`."""

    def __init__(self, settings: BlobSettings) -> None:
        url = settings.blob_url.get_secret_value()
        is_folder = urlsplit(url).scheme == "file"
        self._store: Any = from_url(url, mkdir=True) if is_folder else from_url(url)

    async def write(self, key: str, chunks: AsyncIterable[bytes]) -> Stored:
        """Stream `chunks` to `key`. The blob appears as a whole or, if the stream raises, not at all."""
        digest = hashlib.sha256()
        size = 0

        async def measured() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        await obstore.put_async(self._store, key, measured())
        return Stored(size, digest.hexdigest())

    async def write_file(self, key: str, path: Path) -> Stored:
        """Stream a file to `key`."""

        async def chunks() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk

        return await self.write(key, chunks())

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to `end` (exclusive; None: to the end). Raises FileNotFoundError."""
        bounds: Any = (start, end) if end is not None else {"offset": start}
        options: Any = {"range": bounds} if start or end is not None else None
        found = await obstore.get_async(self._store, key, options=options)
        async for chunk in found.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)

    async def read_file(self, key: str, path: Path) -> None:
        """Stream `key` into a file. Raises FileNotFoundError."""
        with path.open("wb") as file:
            async for chunk in self.read(key):
                file.write(chunk)

    async def delete(self, key: str) -> None:
        """Delete `key`. A key that does not exist is not an error."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def copy(self, source: str, target: str) -> None:
        """Copy the blob `source` to the key `target`. Raises FileNotFoundError."""
        await obstore.copy_async(self._store, source, target)

    async def delete_folder(self, folder: str) -> None:
        """Delete every key that begins with `folder` and a slash."""
        async for found in obstore.list(self._store, prefix=f"{folder}/"):
            await obstore.delete_async(self._store, [item["path"] for item in found])

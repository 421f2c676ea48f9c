"""The blob store for uploads and artifacts: a folder or a bucket.

A blob is written before the database row that refers to it. Whatever the store answers with, callers see only
StorageUnavailable and BlobMissing (errors.py), whose messages show no path and no address.
"""

import asyncio
import errno
import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from libs.common import background, log, metrics, tracing
from libs.common.config import BlobSettings
from libs.common.errors import BlobMissing, StorageUnavailable

CHUNK = 1024 * 1024
"""Bytes read or streamed at a time."""
ANSWERS_WITHIN_S = 30.0
"""A store that gives no answer, or no further chunk, within this time is away."""
DISCARDS_WITHIN_S = 5.0
"""How long a caller waits for the removal of what it failed to store."""
PARTS_AT_ONCE = 2
"""Parts of a blob, of 5 MB each, that are on their way: they are held in memory."""
TRY_EVERY_S = 1.0
"""How often a store that is away is tried."""
TRIAL_BYTES = 64 * 1024
"""What is written then: a full store may still take a few bytes."""
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""What the client of a bucket tries by itself: enough for a server that restarts, short enough to be told of."""
BUCKET_GONE = ("NoSuchBucket", "The specified bucket does not exist", "ContainerNotFound")
"""What S3, GCS and Azure answer with 404 when not the blob is missing, but all of them."""

MESSAGES = {
    "full": "The blob store is full.",
    "permission": "The blob store refuses access.",
    "timeout": "The blob store does not answer in time.",
    "server_error": "The blob store has an error of its own.",
    "other": "The blob store cannot be used now.",
}
"""What callers are told, by the label of the metric."""
OPERATIONS = ("write", "read", "find", "delete", "copy")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_DENIED = (PermissionDeniedError, UnauthenticatedError)
_UNAUTHORIZED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}

T = TypeVar("T")

logger = log.get("blobs")


def job_folder(tenant: str, job_id: UUID) -> str:
    """The key prefix of everything that belongs to a job: its upload and the artifacts of its attempts."""
    return f"jobs/{tenant}/{job_id.hex}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written: `size` in bytes, and the SHA-256 of the content in hex."""

    size: int
    sha256: str


class Blobs:
    """Stores byte strings under keys such as `jobs/<tenant>/<id>/input`.

    Every method may raise StorageUnavailable.
    """

    def __init__(self, settings: BlobSettings) -> None:
        url = settings.blob_url.get_secret_value()
        is_folder = urlsplit(url).scheme == "file"
        self._folder = Path(unquote(urlsplit(url).path)) if is_folder else None
        self._store: Any = None if is_folder else from_url(url, retry_config=RETRIES)
        self._failing: set[str] = set()
        self._trial_key = f"trials/{uuid4().hex}"
        metrics.show_from_the_start(metrics.storage_errors, operation=OPERATIONS, error=MESSAGES)
        metrics.show_from_the_start(metrics.storage_seconds, operation=OPERATIONS)
        metrics.dependency_up.labels("storage").set_function(lambda: self.available)
        if self._folder is not None:
            _make(self._folder)

    @property
    def available(self) -> bool:
        """Whether the last operation of each kind succeeded. Asks nobody."""
        return not self._failing

    async def watch(self) -> None:
        """Try a store that is away every TRY_EVERY_S seconds, for ever, so that its return is noticed."""
        while True:
            await asyncio.sleep(TRY_EVERY_S)
            if self._failing:
                with suppress(StorageUnavailable, BlobMissing, TimeoutError):
                    async with asyncio.timeout(ANSWERS_WITHIN_S):
                        await self._try()

    async def write(self, key: str, chunks: AsyncIterable[bytes]) -> Stored:
        """Stream `chunks` to `key`. The blob appears as a whole or, if the stream raises, not at all."""
        measured = _Measured(chunks)
        with self._noting("write") as span:
            putting = asyncio.create_task(self._ask(lambda store: _put(store, key, measured), within_s=None))
            try:
                await asyncio.shield(putting)
            except asyncio.CancelledError:
                await measured.give_up(putting)
                raise
            except BlobMissing as error:  # of a write, it is the place for blobs that is missing
                raise StorageUnavailable from error
            except _ChunksFailed as failed:
                raise failed.error from None
            span.set(bytes=measured.size)
        return Stored(measured.size, measured.digest.hexdigest())

    async def write_file(self, key: str, path: Path) -> Stored:
        """Stream a file to `key`."""

        async def chunks() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk

        return await self.write(key, chunks())

    async def read(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to `end` (exclusive; None: to the end). Raises BlobMissing.

        A stream that breaks off is taken up where it was, as long as each request brings something: the client of
        a bucket bounds the time of one request, and the reader may be slow.
        """
        with self._noting("read"):
            while True:
                begun_at = start
                try:
                    async for chunk in self._read_once(key, start, end):
                        start += len(chunk)
                        yield chunk
                    return
                except StorageUnavailable:
                    if start == begun_at:
                        raise

    async def read_file(self, key: str, path: Path) -> None:
        """Stream `key` into a file. Raises BlobMissing."""
        with path.open("wb") as file:
            async for chunk in self.read(key):
                file.write(chunk)

    async def find(self, key: str) -> None:
        """Return if there is a blob `key`. Raises BlobMissing."""
        with self._noting("find"):
            await self._ask(lambda store: obstore.head_async(store, key))

    async def delete(self, key: str) -> None:
        """Delete `key`. A key that does not exist is not an error."""
        with suppress(BlobMissing), self._noting("delete"):
            await self._ask(lambda store: obstore.delete_async(store, key))

    async def copy(self, source: str, target: str) -> None:
        """Copy the blob `source` to the key `target`. Raises BlobMissing."""
        with self._noting("copy"):
            await self._ask(lambda store: obstore.copy_async(store, source, target))

    async def delete_folder(self, folder: str) -> None:
        """Delete every key that begins with `folder` and a slash.

        Raises BlobMissing if another process deletes them at the same time.
        """
        with self._noting("delete"):
            found = await self._ask(lambda store: _listed(store, f"{folder}/"))
            while items := await self._ask(lambda _: anext(found, None)):
                await self._ask(partial(_delete, keys=[item["path"] for item in items]))
            if self._folder is not None:  # what a process was writing when it was killed is not listed
                await asyncio.to_thread(shutil.rmtree, self._folder / folder, ignore_errors=True)

    async def discard(self, folder: str) -> None:
        """Delete what has no owner after all. If the store is away, retention does it later."""
        with suppress(StorageUnavailable, BlobMissing, TimeoutError):
            async with asyncio.timeout(DISCARDS_WITHIN_S):
                await self.delete_folder(folder)

    async def _read_once(self, key: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        bounds: Any = (start, end) if end is not None else {"offset": start}
        options: Any = {"range": bounds} if start or end is not None else None
        found = await self._ask(lambda store: obstore.get_async(store, key, options=options))
        stream = found.stream(min_chunk_size=CHUNK)
        while (chunk := await self._ask(lambda _: anext(stream, None))) is not None:
            yield bytes(chunk)

    async def _ask(self, call: Callable[[Any], Awaitable[T]], *, within_s: float | None = ANSWERS_WITHIN_S) -> T:
        """The store's answer. Raises BlobMissing, StorageUnavailable."""
        try:
            async with asyncio.timeout(within_s):
                store = await self._opened()
                try:
                    return await call(store)
                except FileNotFoundError as error:
                    await self._opened()  # or else all blobs of a folder that is away would seem missing
                    if any(sign in str(error) for sign in BUCKET_GONE):
                        raise StorageUnavailable from error
                    raise BlobMissing from error
        except (BaseError, OSError) as error:
            reason = reason_of(error)
            raise StorageUnavailable(MESSAGES[reason], reason=reason) from error

    async def _opened(self) -> Any:
        """The store. Raises OSError if its folder is away: nothing must be written into a folder made anew."""
        if self._folder is not None:
            if not await asyncio.to_thread(self._folder.is_dir):
                raise NotADirectoryError(errno.ENOTDIR, "The folder of the blob store is away.")
            self._store = self._store or LocalStore(self._folder)
        return self._store

    @contextmanager
    def _noting(self, operation: str) -> Iterator[tracing.Span]:
        """Note whether the operation succeeds, and log when the first one fails and when all succeed again."""
        started = time.perf_counter()
        try:
            with tracing.child(f"blob {operation}", tracing.Kind.CLIENT) as span:
                yield span
        except BlobMissing:  # an answer
            self._succeeded(operation)
            raise
        except StorageUnavailable as error:
            metrics.storage_errors.labels(operation, error.reason).inc()
            if not self._failing:
                why = str(error.__cause__).partition("\n")[0]
                logger.warning("storage.unavailable", operation=operation, reason=error.reason, error=why)
            self._failing.add(operation)
            raise
        finally:
            metrics.storage_seconds.labels(operation).observe(time.perf_counter() - started)
        self._succeeded(operation)

    def _succeeded(self, *operations: str) -> None:
        if self._failing:
            self._failing.difference_update(operations)
            if not self._failing:
                logger.info("storage.available")

    async def _try(self) -> None:
        """Write, read and delete a blob. Raises StorageUnavailable, BlobMissing."""
        await self.write(self._trial_key, _trial())
        async for _ in self.read(self._trial_key):
            pass
        await self.delete(self._trial_key)
        self._succeeded(*self._failing)


class _Measured:
    """Hands chunks to the store and measures them.

    A client that is merely cancelled leaves the parts that it has sent in the bucket, where nobody sees and
    everybody pays for them. One whose chunks fail takes them back.
    """

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._chunks = aiter(chunks)
        self._asking: asyncio.Task[Any] | None = None
        self._given_up = False

    def __aiter__(self) -> "_Measured":
        return self

    async def __anext__(self) -> bytes:
        self._asking = asyncio.current_task()
        try:
            if self._given_up:
                raise asyncio.CancelledError
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError as error:
            raise _ChunksFailed(error) from error
        except Exception as error:  # not the store's
            raise _ChunksFailed(error) from error
        finally:
            self._asking = None
        self.digest.update(chunk)
        self.size += len(chunk)
        return chunk

    async def give_up(self, putting: "asyncio.Task[Any]") -> None:
        """Have the client end early, and wait for that while DISCARDS_WITHIN_S allows it."""
        self._given_up = True
        if self._asking is not None:
            self._asking.cancel()
        await asyncio.wait([putting], timeout=DISCARDS_WITHIN_S)
        await background.end([putting])


class _ChunksFailed(Exception):
    """The chunks to be written raised `error`, which is not the store's."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def reason_of(error: Exception) -> str:
    """What is wrong with the store: a key of MESSAGES, from an error of obstore or of the operating system."""
    text = str(error)
    found = re.search(r"\(os error (\d+)\)", text)
    number = int(found[1]) if found else getattr(error, "errno", None)
    status = re.search(r"status code: (\d{3})", text)
    code = int(status[1]) if status else 0
    if number in _FULL or code == HTTPStatus.INSUFFICIENT_STORAGE:
        return "full"
    if number in _REFUSED or code in _UNAUTHORIZED or isinstance(error, _DENIED):
        return "permission"
    if isinstance(error, TimeoutError) or re.search(r"kind: Time(d)?[Oo]ut", text):
        return "timeout"
    return "server_error" if code >= HTTPStatus.INTERNAL_SERVER_ERROR else "other"


def _make(folder: Path) -> None:
    """Create the folder of a new store. If it cannot be, the first operation tells."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)


async def _put(store: Any, key: str, chunks: AsyncIterable[bytes]) -> None:
    await obstore.put_async(store, key, chunks, max_concurrency=PARTS_AT_ONCE)


async def _listed(store: Any, prefix: str) -> Any:
    return obstore.list(store, prefix=prefix)


async def _delete(store: Any, keys: list[str]) -> None:
    await obstore.delete_async(store, keys)


async def _trial() -> AsyncIterator[bytes]:
    yield bytes(TRIAL_BYTES)

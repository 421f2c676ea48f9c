"""Collects single calls into batches.

Calls that arrive while a flush is running wait for it and then go out together in the next flush. When idle, a
call is flushed immediately; under load, one round trip serves many calls. There is no timer and no added delay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from libs.common.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Turns calls with one item each into calls with many items.

    `flush` gets a list of at most `max_size` items and returns one result for each, in the same order. At most
    `at_once` flushes run at the same time.
    If `flush` raises Unavailable, every caller of that batch gets the exception. If it raises anything else, each
    item is flushed once more on its own, so that a bad item does not fail the other calls.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        max_size: int = 1000,
        at_once: int = 1,
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._at_once = at_once
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._flushing: set[asyncio.Task[None]] = set()
        self._about_to_flush = False

    def __call__(self, item: Item) -> "asyncio.Future[Result]":
        """Add `item` to the next flush. The future gets its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if not self._about_to_flush and len(self._flushing) < self._at_once:
            self._about_to_flush = True
            task = loop.create_task(self._flush_all())
            self._flushing.add(task)
        return future

    async def drain(self) -> None:
        """Wait until no flush is running and no item is waiting."""
        while self._flushing:
            await asyncio.wait(self._flushing)

    async def _flush_all(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        self._about_to_flush = False
        try:
            while self._waiting:
                batch = self._waiting[: self._max_size]
                self._waiting = self._waiting[self._max_size :]
                await self._flush_batch(batch)
        except BaseException:  # cancelled: no caller may be left waiting
            for _, future in batch + self._waiting:
                future.cancel()
            self._waiting.clear()
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101
            self._flushing.discard(task)

    async def _flush_batch(self, batch: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for entry in batch:
                    await self._flush_batch([entry])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

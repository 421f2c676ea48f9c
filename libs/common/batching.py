"""What arrives together travels together.

Calls that come in while a flush is running wait for the next one and go in it together. Idle, a call
leaves at once; under load, one round trip serves many. No timer, no delay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from libs.common.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Turns calls for one item into calls for many.

    `flush` gets a list of at most `max_size` items and returns one answer for each, in order; at most `at_once`
    flushes are under way.
    If it raises Unavailable, every caller of that batch gets the exception. If it raises anything else, each
    item is flushed once more alone, so that a bad one spoils nobody else's call.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        *,
        max_size: int = 1000,
        at_once: int = 1,
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._at_once = at_once
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._flushing: set[asyncio.Task[None]] = set()
        self._about_to_flush = False

    def __call__(self, item: Item) -> "asyncio.Future[Answer]":
        """Send `item` with the next flush. The future holds its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if not self._about_to_flush and len(self._flushing) < self._at_once:
            self._about_to_flush = True
            task = loop.create_task(self._flush_all())
            self._flushing.add(task)
        return future

    async def drain(self) -> None:
        """Wait until everything handed in so far has been flushed."""
        while self._flushing:
            await asyncio.wait(self._flushing)

    async def _flush_all(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._about_to_flush = False
        try:
            while self._waiting:
                batch = self._waiting[: self._max_size]
                self._waiting = self._waiting[self._max_size :]
                await self._flush_batch(batch)
        except BaseException:  # cancelled: nobody may be left waiting
            for _, future in batch + self._waiting:
                future.cancel()
            self._waiting.clear()
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101
            self._flushing.discard(task)

    async def _flush_batch(self, batch: list[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._flush([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for alone in batch:
                    await self._flush_batch([alone])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

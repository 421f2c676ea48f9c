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

    `flush` gets a list of at most `max_size` items and returns one answer for each, in order.
    If it raises Unavailable, every caller of that batch gets the exception. If it raises anything else, each
    item is flushed once more alone, so that a bad one spoils nobody else's call.
    """

    def __init__(
        self, flush: Callable[[list[Item]], Awaitable[Sequence[Answer]]], *, max_size: int = 1000
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def __call__(self, item: Item) -> "asyncio.Future[Answer]":
        """Send `item` with the next flush. The future holds its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush_all())
        return future

    async def drain(self) -> None:
        """Wait until everything handed in so far has been flushed."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _flush_all(self) -> None:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
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
            self._flushing = None

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

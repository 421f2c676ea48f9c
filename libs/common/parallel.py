"""Several calls at once, as few of them as their servers bear."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from libs.common import background

T = TypeVar("T")


async def bounded(limit: int, calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """What `calls` return, in their order. At most `limit` run at once.

    If one raises, the others are cancelled and have ended before its error is raised.
    """
    waiting = enumerate(calls)
    found: dict[int, T] = {}

    async def work() -> None:
        for number, call in waiting:
            found[number] = await call()

    workers = [asyncio.create_task(work()) for _ in range(limit)]
    try:
        await asyncio.gather(*workers)
    finally:
        await background.end(workers)
    return [found[number] for number in range(len(found))]

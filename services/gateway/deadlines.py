"""Requests that take too long are given up. All are looked at together, a few times a second: no timer each."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.problems import DeadlineExceeded

LOOK_EVERY_S = 0.25


class Deadlines:
    """The requests at hand that have a deadline."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._given_up: set[asyncio.Task[object]] = set()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give the block so long. Raises DeadlineExceeded."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are tasks
        self._due[task] = time.monotonic() + seconds
        try:
            yield
        except asyncio.CancelledError:
            if task in self._given_up and task.uncancel() == 0:
                raise DeadlineExceeded from None
            raise
        finally:
            self._given_up.discard(task)
            del self._due[task]

    async def watch(self) -> None:
        """Run for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for task in [task for task, due in self._due.items() if due <= now and task not in self._given_up]:
                self._given_up.add(task)
                task.cancel()

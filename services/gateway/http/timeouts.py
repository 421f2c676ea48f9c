"""Timeouts of requests. One loop checks all of them a few times a second, instead of one timer each."""

import asyncio
import time
from types import TracebackType

from services.gateway.problems import DeadlineExceeded, Problem

CHECK_EVERY_S = 0.25


class Timeouts:
    """All blocks that run with a timeout now."""

    def __init__(self) -> None:
        self._running: set[_Timeout] = set()

    def within(self, seconds: float, problem: type[Problem] = DeadlineExceeded) -> "_Timeout":
        """A context manager. After `seconds` its block is cancelled, and raises `problem`."""
        return _Timeout(self._running, time.monotonic() + seconds, problem)

    async def watch(self) -> None:
        """Cancel blocks whose time is over, for ever. They may run up to CHECK_EVERY_S longer."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            now = time.monotonic()
            for block in [block for block in self._running if block.due <= now and not block.timed_out]:
                block.cancel()


class _Timeout:
    """A block with a timeout. A class, because it is cheap and every request uses some."""

    __slots__ = ("_problem", "_running", "_task", "due", "timed_out")

    def __init__(self, running: "set[_Timeout]", due: float, problem: type[Problem]) -> None:
        self._running = running
        self._problem = problem
        self.due = due
        self.timed_out = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are tasks
        self._task = task
        self._running.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.discard(self)
        if self.timed_out and kind is asyncio.CancelledError and not self._task.uncancel():
            raise self._problem from None

    def cancel(self) -> None:
        """Cancel the block."""
        self.timed_out = True
        self._task.cancel()

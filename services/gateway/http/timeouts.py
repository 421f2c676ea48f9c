"""What takes too long is given up. All that waits is looked at together, a few times a second: no timer each."""

import asyncio
import time
from types import TracebackType

from services.gateway.problems import DeadlineExceeded, Problem

LOOK_EVERY_S = 0.25


class Timeouts:
    """What is waited for at this moment, and until when."""

    def __init__(self) -> None:
        self._running: set[_Within] = set()

    def within(self, seconds: float, problem: type[Problem] = DeadlineExceeded) -> "_Within":
        """Give the block so long; then it is cancelled, and raises `problem`."""
        return _Within(self._running, time.monotonic() + seconds, problem)

    async def watch(self) -> None:
        """Run for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            for block in [block for block in self._running if block.due <= now and not block.given_up]:
                block.give_up()


class _Within:
    """A block with a deadline: a context manager of its own, because every request has some."""

    __slots__ = ("_problem", "_running", "_task", "due", "given_up")

    def __init__(self, running: "set[_Within]", due: float, problem: type[Problem]) -> None:
        self._running = running
        self._problem = problem
        self.due = due
        self.given_up = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are tasks
        self._task = task
        self._running.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.discard(self)
        if self.given_up and kind is asyncio.CancelledError and not self._task.uncancel():
            raise self._problem from None

    def give_up(self) -> None:
        """Cancel the block."""
        self.given_up = True
        self._task.cancel()

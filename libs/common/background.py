"""What runs beside a block: it ends with the block, and does not end before it unnoticed.

Where a part is started it says whether the process is of use without it. If an essential part dies, the process
ends and the supervisor starts it again: a process that looks well but does not do its work helps nobody.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from libs.common import log, metrics, reporting
from libs.common.errors import Unavailable

CANCEL_AGAIN_AFTER_S = 1.0
LAST_REPORTS_WITHIN_S = 1.0
"""How long the reports of what ends the process may take."""

logger = log.get("background")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """A coroutine without end, made by `essential` or `optional`."""

    work: Coroutine[Any, Any, object]
    essential: bool

    @property
    def name(self) -> str:
        """The name of its function, such as `Dispatcher.run`."""
        return _name(self.work)


def _name(work: Coroutine[Any, Any, object]) -> str:
    name: str = work.__qualname__  # type: ignore[attr-defined]
    return name


def essential(work: Coroutine[Any, Any, object]) -> Part:
    """A part that the process cannot do without: if it dies, the process ends with code 70."""
    return Part(work, essential=True)


def optional(work: Coroutine[Any, Any, object]) -> Part:
    """A part that the process can do without: if it dies, that is logged and counted."""
    return Part(work, essential=False)


@asynccontextmanager
async def alongside(*parts: Part) -> AsyncIterator[None]:
    """Run `parts` in the background while the block runs. When the block ends, they are cancelled and awaited.

    A part that ends earlier, by an error or without one, has died: this is logged and counted, and the block and
    the other parts continue unless the part is essential.
    """
    block_runs = True

    def on_end(part: Part, task: asyncio.Task[object]) -> None:
        error = _error_of(task)
        if block_runs or error is not None:
            _note_death(part, error)
        if block_runs and part.essential:
            exit_for_restart()

    tasks = []
    for part in parts:
        for counter in (metrics.background_deaths, metrics.background_errors):
            counter.labels(part.name)  # there from the start, so that the first is seen as an increase
        tasks.append(task := asyncio.create_task(part.work))
        task.add_done_callback(lambda task, part=part: on_end(part, task))  # type: ignore[misc]
    try:
        yield
    finally:
        block_runs = False
        await end(tasks)


def _note_death(part: Part, error: BaseException | None) -> None:
    metrics.background_deaths.labels(part.name).inc()
    logger.error("background.died", part=part.name, essential=part.essential, exc_info=error)


def exit_for_restart() -> NoReturn:
    """End the process at once with code 70, so that the supervisor restarts it. Its jobs go to other workers."""
    reporting.stop(LAST_REPORTS_WITHIN_S)
    os._exit(os.EX_SOFTWARE)


@contextmanager
def surviving(loop: str) -> Iterator[None]:
    """One round of a loop that must go on: if the block raises, that is logged, and a bug is counted."""
    try:
        with surviving_bugs(loop):
            yield
    except Unavailable as error:
        logger.warning("background.unavailable", part=loop, error=str(error))


@contextmanager
def surviving_bugs(loop: str) -> Iterator[None]:
    """As `surviving`, for a loop that does something about Unavailable itself."""
    try:
        yield
    except Unavailable:
        raise
    except Exception:
        metrics.background_errors.labels(loop).inc()
        logger.exception("background.bug", part=loop)


class Tasks:
    """Short tasks that nobody awaits. An error of one is logged and counted; `end` ends those that still run."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in the background. Its end may be awaited too."""
        context = copy_context()  # what the task sets in it, such as its job, is in the log of its error too
        task = asyncio.create_task(work, context=context)
        self._running.add(task)
        task.add_done_callback(lambda task: self._note_end(_name(work), task), context=context)
        return task

    async def end(self) -> None:
        """Cancel the tasks that still run, and wait for them."""
        await end(self._running)

    def _note_end(self, name: str, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            with surviving(name):
                task.result()


@asynccontextmanager
async def ended_by_failure_of(task: asyncio.Task[Any]) -> AsyncIterator[None]:
    """If `task` fails while the block runs, cancel the block and raise the error of the task.

    It is cancelled again and again until it has ended, for the reason that `end` gives.
    """
    block, loop = asyncio.current_task(), asyncio.get_running_loop()
    if block is None:
        raise RuntimeError("only a task can be cancelled")
    again: asyncio.TimerHandle | None = None

    def cancel_block(_task: asyncio.Task[Any] | None = None) -> None:
        nonlocal again
        if _error_of(task) is not None:
            block.cancel()
            again = loop.call_later(CANCEL_AGAIN_AFTER_S, cancel_block)

    task.add_done_callback(cancel_block)
    try:
        yield
    except asyncio.CancelledError:
        if (error := _error_of(task)) is None:
            raise
        while block.uncancel():
            pass
        raise error from None
    finally:
        task.remove_done_callback(cancel_block)
        if again is not None:
            again.cancel()


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until each has ended, whether with a result, an error or a cancellation.

    Cancelling once is not enough: before Python 3.12, asyncio.wait_for loses a cancellation that arrives together
    with the result it waits for (https://github.com/python/cpython/issues/86296), and libraries use wait_for.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in tasks if not task.done()}:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)
        except asyncio.CancelledError as error:  # raised below, when all tasks have ended
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None

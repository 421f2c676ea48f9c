"""Background tasks that run while a block runs and have ended when the block has ended."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from libs.common import log

CANCEL_AGAIN_AFTER_S = 1.0

logger = log.get("background")


@asynccontextmanager
async def alongside(*parts: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run the coroutines `parts` in the background while the block runs.

    When the block ends, they are cancelled and awaited. If a part fails, the error is logged at once; the block
    and the other parts continue.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        await end(tasks)


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


def _log_failure(task: asyncio.Task[Any]) -> None:
    if (error := _error_of(task)) is not None:
        logger.error("background.failed", part=task.get_coro().__qualname__, exc_info=error)  # type: ignore[union-attr]

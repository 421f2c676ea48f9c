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


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background.failed", part=task.get_coro().__qualname__, exc_info=error)  # type: ignore[union-attr]

"""What runs beside something else for as long as that lasts, and not a moment longer."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from libs.common import log

CANCEL_AGAIN_AFTER_S = 1.0

logger = log.get("background")


@asynccontextmanager
async def alongside(*parts: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run `parts` while the block runs. At its end they are cancelled, and it returns when they have ended.

    A part that fails is in the log at once; the block and the other parts go on.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    for task in tasks:
        task.add_done_callback(_tell_of_failure)
    try:
        yield
    finally:
        await end(tasks)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until each has ended, however.

    To cancel once is not enough: until Python 3.12, asyncio.wait_for forgets a cancellation that comes together
    with the answer it waits for (https://github.com/python/cpython/issues/86296), and libraries use it.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in tasks if not task.done()}:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)
        except asyncio.CancelledError as error:  # what was promised comes first
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _tell_of_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("background.failed", part=task.get_coro().__qualname__, exc_info=error)  # type: ignore[union-attr]

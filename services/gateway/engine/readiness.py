"""Whether the servers beneath answer, cached so that callers of /readyz cannot cause load on them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from libs.common import background

CHECK_EVERY_S = 0.5
ANSWER_WITHIN_S = 0.2
"""A server that takes longer does not answer, as far as /readyz is concerned."""

Question = Callable[[], Awaitable[bool]]


class Readiness:
    """Asks all servers at once, at most once in CHECK_EVERY_S seconds. `questions` are by the server's name.

    A question that takes too long is not cancelled, which would break a connection of a pool, but not asked again
    before it has ended.
    """

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions = questions
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._answers: Mapping[str, bool] = {}
        self._tasks = background.Tasks()
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Questions can be asked while the block runs; those that have no answer at its end are cancelled."""
        try:
            yield
        finally:
            await self._tasks.end()

    async def check(self) -> Mapping[str, bool]:
        """Whether each server answers, known after ANSWER_WITHIN_S."""
        async with self._lock:
            if time.monotonic() - self._checked_at > CHECK_EVERY_S:
                self._answers = await self._ask_all()
                self._checked_at = time.monotonic()
        return self._answers

    async def _ask_all(self) -> Mapping[str, bool]:
        answers = dict.fromkeys(self._questions, False)
        for name in self._questions:
            if name not in self._asking or self._asking[name].done():
                self._asking[name] = self._tasks.start(self._ask(name, answers))
        await asyncio.wait(self._asking.values(), timeout=ANSWER_WITHIN_S)
        return dict(answers)  # what comes later is too late

    async def _ask(self, name: str, answers: dict[str, bool]) -> None:
        answers[name] = await self._questions[name]()

"""Delays between retries."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from libs.common.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a kind of job waits between tries.

    The delay is at most `base_s` seconds after the first failure. This ceiling doubles with each further failure,
    up to `cap_s` seconds.
    """

    base_s: float = 2.0
    cap_s: float = 600.0

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure: uniformly random between 0 and the ceiling.

        This full jitter spreads many simultaneous retries best:
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))
        return random.uniform(0, ceiling)  # noqa: S311 - it spreads load and protects no secret


def delays(*, base_s: float, cap_s: float) -> Iterator[float]:
    """Yield endless delays in seconds. The step doubles up to `cap_s`; each delay is 50 to 100 % of its step."""
    step = base_s
    while True:
        yield step * random.uniform(0.5, 1.0)  # noqa: S311
        step = min(cap_s, step * 2)


async def until_available(call: Callable[[], Awaitable[T]], *, patience_s: float | None = None) -> T:
    """Retry `call` while it raises Unavailable, for at most `patience_s` seconds (None: without limit).

    `call` must be safe to repeat: an earlier try may have taken effect although its reply was lost.
    """
    loop = asyncio.get_running_loop()
    deadline = None if patience_s is None else loop.time() + patience_s
    for delay in delays(base_s=0.05, cap_s=2.0):
        try:
            return await call()
        except Unavailable:
            if deadline is not None and loop.time() + delay > deadline:
                raise
        await asyncio.sleep(delay)
    raise AssertionError("delays() never ends")

"""Waiting for something to become true, instead of for a time to pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 90.0
"""Far more than anything takes, so that a slow machine fails no test."""


async def until(probe: Callable[[], Awaitable[T]], *, patience_s: float = PATIENCE_S) -> T:
    """The first truthy answer of `probe`. Raises AssertionError with its last answer when patience ends."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = await probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {patience_s:g} s"
        await asyncio.sleep(0.05)

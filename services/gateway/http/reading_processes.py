"""Child processes that read long bodies: none holds up other requests, and its memory goes with its process."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import ParamSpec, TypeVar

from libs.common.errors import ArgosyError
from libs.common.sandbox import Limits, Refusals, Sandbox
from services.gateway.problems import TooLarge

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 2
"""Processes. Each keeps a CPU busy."""
NICENESS = 10
"""They stand back: the event loop has shorter things to do."""
MEMORY_BYTES = 768 * 1024 * 1024
"""The largest letters need 550 MB, most of it for text in which each character takes four bytes."""
CPU_S = 20.0
"""Ten times what the largest letters need."""
RESULT_PER_BYTE = 2
"""What is made of a body may have so many times its size."""


class ReadingCrashed(ArgosyError):
    """The process that read a body has crashed."""


class ReadingProcesses:
    """Runs functions that read bodies of at most `max_bytes`, each in a process of its own."""

    def __init__(self, max_bytes: int, *, preload: str) -> None:
        result_bytes = RESULT_PER_BYTE * max_bytes
        self._limits = Limits(MEMORY_BYTES, CPU_S, result_bytes=result_bytes, niceness=NICENESS)
        self._preload = preload
        self._free = asyncio.Semaphore(AT_ONCE)

    @cached_property
    def _sandbox(self) -> Sandbox:
        """Made for the first long body, as its fork server takes 100 MB, and the CPU of another start."""
        refusals = Refusals(TooLarge, TooLarge, ReadingCrashed)
        return Sandbox(self._limits, refusals, package="services.gateway", preload=[self._preload])

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`, or its Problem. Raises TooLarge, ReadingCrashed."""
        async with self._free:
            return await self._sandbox.run(function, *args, **kwargs)

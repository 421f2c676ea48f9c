"""Lets a process kill itself at a given point of its work, which is a call of one of its functions.

Of a function that yields, it is what it yields.
"""

import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


def always(*_arguments: Any, **_named: Any) -> bool:
    """Any call is the point."""
    return True


def succeeded(_lease: Any, events: Any) -> bool:
    """Of `Lease.tell`: a job has succeeded."""
    return any(state == "succeeded" for _, state, _ in events)


@dataclass(frozen=True)
class Point:
    """A call of `place.name` for whose arguments `when` holds: when it has returned, or, `at_once`, instead.

    If it yields, `when` is asked of each thing that it has yielded, when the next one is wanted.
    """

    place: Any
    name: str
    when: Callable[..., bool] = always
    at_once: bool = False


def die_at(point: Point) -> None:
    """Have this process killed by SIGKILL there."""
    original = getattr(point.place, point.name)

    async def dying(*arguments: Any, **named: Any) -> Any:
        found = None if point.at_once else await original(*arguments, **named)
        if point.when(*arguments, **named):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    async def yielding(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
        async for item in original(*arguments, **named):
            yield item
            if point.when(item):
                os.kill(os.getpid(), signal.SIGKILL)

    setattr(point.place, point.name, yielding if inspect.isasyncgenfunction(original) else dying)

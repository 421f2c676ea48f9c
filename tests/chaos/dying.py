"""Lets a process kill itself at a given point of its work, which is a call of one of its functions.

Of a function that yields, it is what it yields.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import uvloop

from libs.common import bus, db, log
from libs.common.blobs import Blobs
from libs.common.config import load
from libs.common.contracts.services import ServiceRow
from libs.common.handler_testkit import drain
from libs.common.worker.service import Platform


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


def main(
    service: ServiceRow, points: Mapping[str, Point], settings_type: Any, payload: Any, handle: Any, resources: Any
) -> None:
    """Work off the queue of a service until it is empty, or until the point that the command line names."""

    async def work() -> None:
        die_at(points[sys.argv[1]])
        settings = load(settings_type)
        async with (
            db.connect(settings, service.name, role=service.role) as database,
            bus.connect(settings, service.name) as conveyor,
            resources(settings, Platform(database, Blobs(settings))) as deps,
        ):
            await drain(database, conveyor, service.name, payload, handle, deps)

    log.setup(service.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())

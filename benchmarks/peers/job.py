"""The jobs and the timing of a run, the same for every contender.

Each script runs in its own virtual environment, so this module needs the standard library only. Environment
variables describe the run. Three files in FOLDER report the results to the harness.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

URL = os.environ.get("BENCH_URL", "")
"""URL of the contender's server. Argosy uses other variables."""
TASK = os.environ["BENCH_TASK"]
"""`noop` or `effect`."""
TUNED = TASK == "noop"
"""Throughput is measured with each library's best documented settings, recovery with its defaults."""
JOBS = int(os.environ["BENCH_JOBS"])
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
FOLDER = Path(os.environ["BENCH_FOLDER"])
IN_FLIGHT = 100
"""Concurrent enqueueing calls of an asynchronous producer."""
EFFECT_S = 0.02

_runs = os.open(FOLDER / "runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_started = itertools.count(1)
_first: list[float] = []


def noop() -> None:
    """A job that does nothing. The first and the last job of a run measure the time."""
    number = next(_started)
    if number == 1:
        _first.append(time.perf_counter())
    if number == JOBS:
        tell("span", time.perf_counter() - _first[0])


def leave_line(job: object) -> None:
    """The effect of a job, at its end: a line with its id."""
    os.write(_runs, f"{job}\n".encode())


def effect(job: object) -> None:
    """A job of 20 ms in a thread."""
    time.sleep(EFFECT_S)
    leave_line(job)


async def effect_async(job: object) -> None:
    """A job of 20 ms on an event loop."""
    await asyncio.sleep(EFFECT_S)
    leave_line(job)


def tell(name: str, seconds: float) -> None:
    """Report a figure to the harness, by an atomic rename."""
    unfinished = FOLDER / f"{name}.unfinished"
    unfinished.write_text(str(seconds))
    unfinished.rename(FOLDER / name)


def enqueue_each(enqueue: Callable[[int], object]) -> None:
    """Enqueue all jobs one after another, and report the seconds."""
    begun = time.perf_counter()
    for number in range(JOBS):
        enqueue(number)
    tell("enqueued", time.perf_counter() - begun)


async def enqueue_together(enqueue: Callable[[int], Awaitable[object]]) -> None:
    """Enqueue all jobs, IN_FLIGHT at a time, and report the seconds."""
    begun = time.perf_counter()
    for start in range(0, JOBS, IN_FLIGHT):
        await asyncio.gather(*(enqueue(number) for number in range(start, min(JOBS, start + IN_FLIGHT))))
    tell("enqueued", time.perf_counter() - begun)


def run(produce: Callable[[], None], work: Callable[[], None]) -> None:
    """Run the command `produce` or `work` of a script."""
    {"produce": produce, "work": work}[sys.argv[1]]()

"""How long a job takes to be accepted while exports run, beside the same on an idle fleet, in turn in one run.

Jobs are accepted at a steady pace, each with its own commit on disk. The time is from when a job was due to be
accepted, so one that had to wait for the one before counts with its wait.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.exports.fleet import Fleet, fleet
from benchmarks.exports.rows import TENANT, fill
from deploy.local.test_servers import trio
from libs.common.ledger.jobs import NewJob

ACCEPTED_PER_S = 100
PACED_ROWS_PER_S = 50_000


@dataclass(frozen=True, slots=True)
class Load:
    """Exports that run meanwhile, and how much worse the p99 may be."""

    name: str
    formats: Sequence[str]
    goal: float


UNPACED = (Load("one csv", ["csv"], 2), Load("one xlsx", ["xlsx"], 2), Load("three", ["csv", "jsonl", "xlsx"], 5))
PACED = (Load("three, paced", ["csv", "jsonl", "xlsx"], 2),)


async def p99_ms(running: Fleet, seconds: float) -> float:
    """Of accepting jobs for so long."""
    taken: list[float] = []

    async def accept(due: float) -> None:
        await running.dispatcher.accept(NewJob("other", "other", "ocr", "noop", b"{}"))
        taken.append(1_000 * (time.perf_counter() - due))

    begun = time.perf_counter()
    tasks = []
    for number in range(int(seconds * ACCEPTED_PER_S)):
        due = begun + number / ACCEPTED_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(accept(due)))
    await asyncio.gather(*tasks)
    return statistics.quantiles(taken, n=100)[-1]


async def keep_exporting(running: Fleet, format_: str) -> None:
    """One file after the other."""
    while True:
        job = await running.submit(format_)
        while not await running.has_ended(job):
            await asyncio.sleep(0.2)


async def while_exporting(running: Fleet, load: Load, seconds: float) -> float:
    """The p99 while these exports run."""
    exports = [asyncio.create_task(keep_exporting(running, format_)) for format_ in load.formats]
    await asyncio.sleep(1)  # all of them are at it
    try:
        return await p99_ms(running, seconds)
    finally:
        for export in exports:
            export.cancel()
        while await running.owner.fetch(
            "SELECT FROM ledger.jobs WHERE queue = 'exporter' AND finished_at IS NULL"
        ):
            await asyncio.sleep(0.2)


async def compare(running: Fleet, loads: Sequence[Load], rounds: int, seconds: float) -> None:
    """Print the p99 of each beside that of the idle fleet just before it."""
    for load in loads:
        pairs = []
        for _ in range(rounds):
            idle = await p99_ms(running, seconds)
            pairs.append((idle, await while_exporting(running, load, seconds)))
        ratio = statistics.median(busy / idle for idle, busy in pairs)
        shown = ", ".join(f"{busy:.0f} after {idle:.0f}" for idle, busy in pairs)
        print(
            f"{load.name:14} p99 {ratio:5.1f} times that of an idle fleet (goal {load.goal:g}): {shown} ms",
            flush=True,
        )


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Without and with a pace."""
    with trio(folder / "servers") as servers:
        async with fleet(servers, folder) as running:
            print(f"load of the machine {os.getloadavg()[0]:.1f}")
            await fill(running.owner, TENANT, arguments.rows)
            await compare(running, UNPACED, arguments.rounds, arguments.seconds)
        async with fleet(servers, folder, rows_per_s=PACED_ROWS_PER_S) as running:
            await compare(running, PACED, arguments.rounds, arguments.seconds)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(run(parser.parse_args(), Path(name)))


if __name__ == "__main__":
    main()

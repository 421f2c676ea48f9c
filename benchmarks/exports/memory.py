"""The memory of an exporter while files of more and more rows are written, and the time to their first bytes.

The exporter is a process of its own, whose resident memory is looked at ten times a second. The slope is that of
the worker's memory over the time of the largest file, after its first tenth: a line through all that was seen.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks.exports.fleet import Fleet, Memory, fleet
from benchmarks.exports.rows import FORMATS, TENANT, fill
from deploy.local.test_servers import trio

SHOWN = 8
"""Points in time at which the memory of the largest file is shown."""


def at_times(seen: list[float]) -> str:
    """Some of what was seen, from the begin to the end."""
    return " ".join(f"{seen[len(seen) * number // SHOWN]:.0f}" for number in range(SHOWN))


def slope_mb(seen: list[float]) -> float:
    """How much a line through all that was seen after the first tenth rises until the end."""
    later = seen[len(seen) // 10 :]
    return statistics.linear_regression(range(len(later)), later).slope * len(later)


async def export(running: Fleet, format_: str, rows: int) -> Memory:
    """Write a file, and print what it took."""
    before, begun = running.first_byte_s(), time.perf_counter()
    memory = await running.watched(await running.submit(format_))
    seconds = time.perf_counter() - begun
    first_ms = 1_000 * (running.first_byte_s() - before)
    print(
        f"{rows:>10,} {format_:8}{rows / seconds:>9,.0f} rows/s  first byte {first_ms:6.0f} ms  worker"
        f" {max(memory.worker):4.0f} MB  child {max(memory.child):4.0f} MB",
        flush=True,
    )
    return memory


async def run(rows: int, folder: Path) -> None:
    """All formats, with a tenth of the rows and with all."""
    with trio(folder / "servers") as servers:
        async with fleet(servers, folder) as running:
            print(f"load of the machine {os.getloadavg()[0]:.1f}")
            for number in (rows // 10, rows):
                await running.owner.fetch("TRUNCATE sync.opportunities")
                await fill(running.owner, TENANT, number)
                seen = {format_: await export(running, format_, number) for format_ in FORMATS}
            for format_, memory in seen.items():
                print(
                    f"{format_:8} worker over time {at_times(memory.worker)} MB, slope"
                    f" {slope_mb(memory.worker):+.1f} MB; child {at_times(memory.child)} MB"
                )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(run(parser.parse_args().rows, Path(name)))


if __name__ == "__main__":
    main()

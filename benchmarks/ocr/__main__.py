"""make bench-ocr: scans through the fleet, OCRmyPDF and the bare tesseract program, in turn, in one run.

Four parts, of which PARTS="receipts speed" takes some:

    receipts   word F1 of photographed receipts, and the time beside plain pytesseract (receipts.py)
    speed      scans of PAGES="10 100" pages, ROUNDS=3 (speed.py)
    truths     documents of the kinds that go wrong: words, places, pages, bytes (truths.py)
    recovery   workers killed while they read (recovery.py)

Receipts and truths need data with known text beside this checkout, and are left out without. OCRmyPDF is installed
under .run/peers, with Ghostscript from the system, and left out where it cannot be. CPU seconds are those of all
processes at work, the fleet's servers among them. On a busy machine their ratios say more than those of time.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.ocr import receipts, recovery, speed, truths
from benchmarks.ocr.fleet import ENGINES, Fleet, Fleets
from benchmarks.ocr.peers import AT_ONCE
from libs.common.contracts.ocr import OcrOptions

PARTS = ("receipts", "speed", "truths", "recovery")
LONG = 50
"""Pages from which one round is enough."""


async def main(parts: Collection[str], engines: Sequence[str], sizes: Sequence[int], rounds: int) -> None:
    """Measure accuracy, speed and recovery."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"receipts", "speed"} & set(parts):
            async with AsyncExitStack() as stack:
                fleets: Fleets = {}
                for engine in engines:
                    fleet = Fleet(folder / engine, workers=1, slots=AT_ONCE, engine=engine)
                    fleets[engine] = fleet, await stack.enter_async_context(fleet.up())
                if "receipts" in parts:
                    await receipts.compare(fleets)
                for pages in sizes if "speed" in parts else ():
                    await speed.compare(fleets, folder, pages, rounds if pages < LONG else 1)
        if "truths" in parts:
            await asyncio.to_thread(truths.compare, truths.DOCUMENTS, "*", OcrOptions())
        if "recovery" in parts:
            await recovery.killed(folder, max(sizes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--pages", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.parts, arguments.engines, arguments.pages, arguments.rounds))

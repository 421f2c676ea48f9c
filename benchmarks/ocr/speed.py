"""Time of long scans: the fleet, the bare tesseract program and OCRmyPDF read the same pages, two at a time.

The bare program gets rasterised PNG files. It runs twice: once for text only, once for the outputs that the fleet
makes. The fleet and OCRmyPDF get one PDF. The fleet is timed from the POST to the end of the job, with each OCR
engine; its CPU is that of all its processes. Every round has a new scan, because the fleet caches pages.
"""

import asyncio
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.ocr.fleet import Fleets, peak_memory, submitted
from benchmarks.ocr.peers import bare, ocrmypdf, ocrmypdf_program
from benchmarks.ocr.scans import draw_scan, rasterise
from benchmarks.ocr.scoring import Took, timed


async def compare(fleets: Fleets, folder: Path, pages: int, rounds: int) -> None:
    """Print one line per contender and round, then the medians of the ratios."""
    ratios: dict[str, list[Took]] = {}
    for number in range(rounds):
        place = folder / f"{pages}-{number}"
        place.mkdir()
        pdf = place / "scan.pdf"
        await asyncio.to_thread(draw_scan, pdf, pages, number)
        images = await asyncio.to_thread(rasterise, pdf, place)
        ours = {}
        for engine, (fleet, client) in fleets.items():
            with peak_memory(fleet.workers_of_ocr()) as peak:
                job, ours[engine] = await submitted(fleet, client, pdf)
            assert job["result"]["pages"] == pages
            _print(f"fleet, {engine}, peak {peak[0] / 1e6:.0f} MB", ours[engine])
        for name, work in _peers(images, pdf).items():
            theirs = await asyncio.to_thread(timed, work)
            _print(name, theirs)
            for engine, took in ours.items():
                ratio = Took(took.wall / theirs.wall, took.cpu / theirs.cpu)
                ratios.setdefault(f"fleet, {engine} ÷ {name}", []).append(ratio)
    print(f"{pages} pages, medians of {rounds}:")
    for name, found in ratios.items():
        wall, cpu = (statistics.median(getattr(ratio, kind) for ratio in found) for kind in ("wall", "cpu"))
        print(f"  {name} = {wall:.2f}, of CPU seconds {cpu:.2f}", flush=True)


def _peers(images: list[Path], pdf: Path) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {
        "tesseract, text": partial(bare, images, ["txt"]),
        "tesseract, text + tsv + pdf": partial(bare, images, ["txt", "tsv", "pdf"]),
    }
    if program := ocrmypdf_program():
        outputs = pdf.with_suffix(".out.pdf"), pdf.with_suffix(".txt")
        found["ocrmypdf --jobs 2"] = partial(ocrmypdf, program, pdf, *outputs)
    return found


def _print(name: str, took: Took) -> None:
    print(f"  {name:40} {took.wall:7.2f} s, {took.cpu:7.2f} CPU s", flush=True)

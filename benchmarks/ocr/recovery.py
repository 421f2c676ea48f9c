"""Recovery: three workers read a long scan, and one of them is killed every ten seconds."""

import asyncio
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path

from benchmarks.ocr.fleet import Fleet, submit
from benchmarks.ocr.scans import draw_scan

KILL_EVERY_S = 10.0


async def killed(folder: Path, pages: int) -> None:
    """Read a document on three workers, killing one every ten seconds. Prints how many pages are there once."""
    fleet = Fleet(folder / "kill", workers=3, slots=1)
    pdf = folder / "kill.pdf"
    await asyncio.to_thread(draw_scan, pdf, pages, 99)
    kills = 0
    async with fleet.up() as client:
        begun = time.perf_counter()
        reading = asyncio.create_task(submit(client, pdf))
        while not reading.done():
            await asyncio.wait({reading}, timeout=KILL_EVERY_S)
            if not reading.done():
                random.choice(fleet.workers_of_ocr()).send_signal(signal.SIGKILL)  # noqa: S311
                kills += 1
        job, took = await reading, time.perf_counter() - begun
        text = (await client.get(job["artifacts"][0]["url"])).text
        sheets = Counter(re.findall(r"Sheet (\d+) of", text))
    once = sum(sheets[str(number)] == 1 for number in range(1, pages + 1))
    print(
        f"{pages} pages on three workers, {kills} killed with SIGKILL: {job['state']} after {took:.0f} s,"
        f" {job['result']['pages']} pages, {once} of them there exactly once, {job['children']} page jobs",
        flush=True,
    )

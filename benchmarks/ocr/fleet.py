"""A fleet of its own for a benchmark, and what its processes need."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.ocr.scoring import Took
from deploy.local.test_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("tesseract", "tesserocr")
"""Tesseract as a program and as a library."""


class Fleet:
    """A separate fleet in `folder`, with `workers` OCR workers of `slots` slots each."""

    def __init__(self, folder: Path, *, workers: int, slots: int, engine: str = ENGINES[0]) -> None:
        self.folder = folder
        self.workers = workers
        self._environment = os.environ | {
            "ARGOSY_RUN_DIR": str(folder),
            "ARGOSY_PORT": str(free_port()),
            "OCR_CONCURRENCY": str(slots),
            "OCR_ENGINE": engine,
            "GATEWAY_MAX_UPLOAD_BYTES": "1000000000",
            "LIMITS": "ocr=off, api=off, burst=off, ip=off",
        }

    def command(self, *words: str) -> None:
        command = [sys.executable, "-m", "deploy.local", *words]
        subprocess.run(command, env=self._environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[httpx.AsyncClient]:
        """Run the fleet while the block runs. Yields a client of it."""
        await asyncio.to_thread(self.command, "up")
        try:
            if self.workers > 1:
                await asyncio.to_thread(self.command, "scale", "ocr", str(self.workers))
            lines = (self.folder / "dev.env").read_text().splitlines()
            variables = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)
            headers = {"Authorization": f"Bearer {variables['ARGOSY_KEY']}"}
            async with httpx.AsyncClient(base_url=variables["ARGOSY_URL"], headers=headers, timeout=120) as client:
                yield client
        finally:
            await asyncio.to_thread(self.command, "down")

    def workers_of_ocr(self) -> list[psutil.Process]:
        """Return the processes of the OCR workers."""
        return [process for process in self._own() if process.info["cmdline"][-1:] == ["services.ocr"]]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes of the fleet so far, also of those that ended."""
        own = {process.pid: process for process in self._own()}
        for process in list(own.values()):
            own |= {child.pid: child for child in _alive(process)}
        return sum(map(_cpu_seconds, own.values()))

    def _own(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                if process.environ().get("ARGOSY_RUN_DIR") == str(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found


Fleets = dict[str, tuple[Fleet, httpx.AsyncClient]]
"""Fleets and their clients, by engine."""


async def submit(client: httpx.AsyncClient, document: Path) -> dict[str, Any]:
    """Submit a document, wait for the end of its job, and return the job."""
    files = {"file": (document.name, document.read_bytes())}
    answer = await client.post("/v1/ocr", files=files, headers={"Prefer": "wait=45"})
    answer.raise_for_status()
    job: dict[str, Any] = answer.json()
    while not job["finished_at"]:
        await asyncio.sleep(0.25)
        job = (await client.get(answer.headers["location"])).json()
    assert job["state"] == "succeeded", job["error"]
    return job


async def submitted(fleet: Fleet, client: httpx.AsyncClient, document: Path) -> tuple[dict[str, Any], Took]:
    """Submit a document. Returns its job at its end, and what it took from the POST to there."""
    cpu, begun = fleet.cpu_seconds(), time.perf_counter()
    job = await submit(client, document)
    wall = time.perf_counter() - begun
    return job, Took(wall, fleet.cpu_seconds() - cpu)


@contextmanager
def peak_memory(workers: Sequence[psutil.Process]) -> Iterator[list[int]]:
    """Measure, at index 0, the peak memory of the workers and their children, in bytes (proportional set size)."""
    peak, over = [0], threading.Event()

    def held(process: psutil.Process) -> int:
        try:
            return int(process.memory_full_info().pss)
        except psutil.Error:
            return 0

    def watch() -> None:
        while not over.wait(1.0):  # looking is work too
            everyone = [process for worker in workers for process in (worker, *_alive(worker))]
            peak[0] = max(peak[0], sum(map(held, everyone)))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


def _alive(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])
    except psutil.Error:
        return 0.0

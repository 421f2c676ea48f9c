"""make bench-ocr: scans through the fleet, OCRmyPDF and the bare tesseract program, in one run.

Speed: all read the same pages, two at a time. The bare program gets rasterised PNG files. It runs twice: once for
text only, once for the outputs that the fleet makes. The fleet and OCRmyPDF get one PDF. The fleet is timed from
the POST to the end of the job, with each OCR engine. Every round has a new scan, because the fleet caches pages.

Accuracy: receipts with known text, if they are present beside this checkout.

Recovery: three workers, one of which is killed every ten seconds.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pypdfium2
import pytesseract
from PIL import Image, ImageDraw, ImageFont

from benchmarks.peers.contenders import INSTALLED, CannotInstall, install_python
from deploy.local.test_servers import free_port

ROOT = Path(__file__).resolve().parents[1]
RECEIPTS = ROOT.parent / "shared" / "data" / "scans" / "receipts"
DPI = 300
AT_ONCE = 2
ONE_THREAD = os.environ | {"OMP_THREAD_LIMIT": "1"}
ENGINES = ("tesseract", "tesserocr")
"""Tesseract as a program and as a library."""
KILL_EVERY_S = 10.0
VOCABULARY = (
    *("harbour", "cargo", "vessel", "ledger", "captain", "invoice", "timber", "barrel", "anchor", "voyage"),
    *("merchant", "season", "number", "delivery", "seventeen", "account", "receive", "certain", "between"),
    *("the", "of", "and", "to", "in", "that", "it", "was", "for", "on", "with", "as", "at", "by", "from"),
)


def draw_scan(path: Path, pages: int, seed: int) -> None:
    """Write a scanned PDF: full pages of 11-point text, numbered, slightly noisy, as JPEG."""
    chance = random.Random(seed)  # noqa: S311 - the same pages for the same seed
    font = ImageFont.load_default(size=11 * DPI / 72)
    noise = Image.effect_noise((int(8.27 * DPI), int(11.69 * DPI)), 12).point(lambda value: min(255, value + 110))

    def drawn() -> Iterator[Image.Image]:
        for number in range(1, pages + 1):
            image = noise.copy()
            draw = ImageDraw.Draw(image)
            draw.text((DPI, DPI * 0.5), f"Sheet {number} of {pages}", fill=20, font=font)
            for row in range(44):
                line = " ".join(chance.choices(VOCABULARY, k=11))
                draw.text((DPI, DPI * 0.8 + row * DPI * 0.22), line, fill=20, font=font)
            yield image

    images = drawn()
    next(images).save(path, "PDF", save_all=True, append_images=images, resolution=DPI)


def rasterise(pdf: Path, folder: Path) -> list[Path]:
    """Write the pages as PNG files. Returns their paths."""
    paths = []
    for number, page in enumerate(pypdfium2.PdfDocument(pdf)):
        path = folder / f"{number}.png"
        page.render(scale=DPI / 72, grayscale=True).to_pil().save(path, dpi=(DPI, DPI), compress_level=1)
        paths.append(path)
    return paths


def bare(pages: Sequence[Path], outputs: Sequence[str]) -> float:
    """Return the seconds that the tesseract program takes for `pages`, two at a time."""

    def read(page: Path) -> None:
        command = ["tesseract", str(page), str(page.with_suffix("")), *outputs]
        subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True)

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(read, pages))
    return time.perf_counter() - begun


def ocrmypdf(pdf: Path) -> float | None:
    """Return the seconds that OCRmyPDF takes with AT_ONCE jobs, or None if it cannot be installed."""
    home = INSTALLED / "ocrmypdf"
    try:
        install_python(home, ("ocrmypdf>=17.13",))
    except CannotInstall as reason:
        print(f"OCRmyPDF is left out: {reason}", flush=True)
        return None
    result, text = pdf.with_suffix(".out.pdf"), pdf.with_suffix(".txt")
    command = [
        str(home / "bin" / "ocrmypdf"),
        "--jobs",
        str(AT_ONCE),
        "--output-type",
        "pdf",
        "--sidecar",
        str(text),
    ]
    begun = time.perf_counter()
    subprocess.run([*command, "--quiet", str(pdf), str(result)], check=True, capture_output=True)
    return time.perf_counter() - begun


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

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the OCR workers."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                ours = process.environ().get("ARGOSY_RUN_DIR") == str(self.folder)
            except psutil.Error:
                continue
            if ours and process.info["cmdline"][-1:] == ["services.ocr"]:
                found.append(process)
        return found


Fleets = dict[str, tuple[Fleet, httpx.AsyncClient]]
"""Fleets and their clients, by engine."""


async def submit(client: httpx.AsyncClient, pdf: Path) -> dict[str, Any]:
    """Submit a document, wait for the end of its job, and return the job."""
    files = {"file": (pdf.name, pdf.read_bytes())}
    answer = await client.post("/v1/ocr", files=files, headers={"Prefer": "wait=60"})
    answer.raise_for_status()
    job: dict[str, Any] = answer.json()
    while not job["finished_at"]:
        await asyncio.sleep(0.25)
        job = (await client.get(answer.headers["location"])).json()
    assert job["state"] == "succeeded", job["error"]
    return job


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
            everyone = [child for worker in workers for child in (worker, *worker.children(recursive=True))]
            peak[0] = max(peak[0], sum(map(held, everyone)))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


async def speed(fleets: Fleets, folder: Path, pages: int, rounds: int) -> None:
    """Print one line per round, then the medians of the ratios."""
    names = ("tesseract, text", "tesseract, text + tsv + pdf", "ocrmypdf --jobs 2")
    ratios: dict[tuple[str, str], list[float]] = {(engine, name): [] for engine in fleets for name in names}
    for number in range(rounds):
        place = folder / f"{pages}-{number}"
        place.mkdir()
        pdf = place / "scan.pdf"
        await asyncio.to_thread(draw_scan, pdf, pages, number)
        images = await asyncio.to_thread(rasterise, pdf, place)
        ours, line = {}, ""
        for engine, (fleet, client) in fleets.items():
            with peak_memory(fleet.processes()) as peak:
                begun = time.perf_counter()
                job = await submit(client, pdf)
                ours[engine] = time.perf_counter() - begun
            assert job["result"]["pages"] == pages
            line += f"fleet, {engine} {ours[engine]:6.2f} s, peak {peak[0] / 1e6:.0f} MB   "
        theirs = (
            await asyncio.to_thread(bare, images, ["txt"]),
            await asyncio.to_thread(bare, images, ["txt", "tsv", "pdf"]),
            await asyncio.to_thread(ocrmypdf, pdf),
        )
        for name, seconds in zip(names, theirs, strict=True):
            if seconds is not None:
                line += f"{name} {seconds:6.2f} s   "
                for engine in fleets:
                    ratios[engine, name].append(ours[engine] / seconds)
        print(line, flush=True)
    print(f"{pages} pages, medians of {rounds}:")
    for (engine, name), found in ratios.items():
        if found:
            print(f"  fleet, {engine} ÷ {name} = {statistics.median(found):.2f}", flush=True)


async def accuracy(fleets: Fleets) -> None:
    """Print word F1, character error rate and time over the receipts, and the same for pytesseract."""
    receipts = sorted(RECEIPTS.glob("*.jpg"))
    if not receipts:
        print("no ../shared/data/scans/receipts beside this checkout: accuracy is left out")
        return
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in (*fleets, "image_to_string")}
    seconds = dict.fromkeys(scores, 0.0)
    os.environ["OMP_THREAD_LIMIT"] = "1"
    for receipt in receipts:
        rows = receipt.with_suffix(".csv").read_text(errors="replace").splitlines()
        truth = "\n".join(",".join(row.split(",")[8:]) for row in rows)
        for engine, (_, client) in fleets.items():
            begun = time.perf_counter()
            files = {"file": (receipt.name, receipt.read_bytes())}
            job = (await client.post("/v1/ocr", files=files, headers={"Prefer": "wait=60"})).json()
            seconds[engine] += time.perf_counter() - begun
            scores[engine].append(score((await client.get(job["artifacts"][0]["url"])).text, truth))
        begun = time.perf_counter()
        text = await asyncio.to_thread(pytesseract.image_to_string, str(receipt))
        seconds["image_to_string"] += time.perf_counter() - begun
        scores["image_to_string"].append(score(text, truth))
    print(f"{len(receipts)} receipts, one at a time")
    for name, found in scores.items():
        f1, cer = (statistics.mean(column) for column in zip(*found, strict=True))
        ratio = seconds[name] / seconds["image_to_string"]
        print(f"  {name:16} mean word F1 {f1:.3f}   mean CER {cer:.3f}   {seconds[name]:.1f} s, {ratio:.2f} x")


def score(found: str, truth: str) -> tuple[float, float]:
    """Return word F1 (runs of letters and digits) and character error rate (without spaces), ignoring case."""
    words, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (found, truth))
    f1 = 2 * (words & wanted).total() / max(1, words.total() + wanted.total())
    letters, right = ("".join(text.lower().split()) for text in (found, truth))
    return f1, min(1.0, distance(letters, right) / max(1, len(right)))


def distance(one: str, other: str) -> int:
    """Return the Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


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
                random.choice(fleet.processes()).send_signal(signal.SIGKILL)  # noqa: S311
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


async def main(sizes: Sequence[int], rounds: int) -> None:
    """Measure accuracy, speed and recovery."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            fleets = {}
            for engine in ENGINES:
                fleet = Fleet(folder / engine, workers=1, slots=AT_ONCE, engine=engine)
                fleets[engine] = fleet, await stack.enter_async_context(fleet.up())
            await accuracy(fleets)
            for pages in sizes:
                await speed(fleets, folder, pages, rounds if pages < 50 else 1)
        await killed(folder, max(sizes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.pages, arguments.rounds))

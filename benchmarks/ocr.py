"""make bench-ocr: a 10-page 300-dpi scan through the running fleet, beside the bare tesseract program.

Both read the same pages with OMP_THREAD_LIMIT=1, two at a time. The bare program gets the pages as PNG files,
already rasterised, and writes text only, and then again all the outputs that the fleet makes. The fleet gets
one PDF over HTTP and is timed from the POST to the end of the job: upload, rasterising, text, words and
searchable PDF included.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pypdfium2
from PIL import Image, ImageDraw, ImageFont

from deploy.local.running import free_port

ROOT = Path(__file__).resolve().parents[1]
DPI = 300
AT_ONCE = 2
VOCABULARY = (
    *("harbour", "cargo", "vessel", "ledger", "captain", "invoice", "timber", "barrel", "anchor", "voyage"),
    *("merchant", "season", "number", "delivery", "seventeen", "account", "receive", "certain", "between"),
    *("the", "of", "and", "to", "in", "that", "it", "was", "for", "on", "with", "as", "at", "by", "from"),
)


def draw_scan(path: Path, pages: int) -> None:
    """A PDF of pictures: full pages of 11-point text, slightly noisy, as JPEG."""
    chance = random.Random(7)  # noqa: S311 - the same pages every time
    font = ImageFont.load_default(size=11 * DPI / 72)
    images = []
    for _ in range(pages):
        image = Image.effect_noise((int(8.27 * DPI), int(11.69 * DPI)), 12).point(
            lambda value: min(255, value + 110)
        )
        draw = ImageDraw.Draw(image)
        for row in range(44):
            line = " ".join(chance.choices(VOCABULARY, k=11))
            draw.text((DPI, DPI * 0.8 + row * DPI * 0.22), line, fill=20, font=font)
        images.append(image)
    images[0].save(path, "PDF", save_all=True, append_images=images[1:], resolution=DPI)


def rasterise(pdf: Path, folder: Path) -> list[Path]:
    """The pages as PNG files."""
    paths = []
    for number, page in enumerate(pypdfium2.PdfDocument(pdf)):
        path = folder / f"{number}.png"
        page.render(scale=DPI / 72, grayscale=True).to_pil().save(path, dpi=(DPI, DPI))
        paths.append(path)
    return paths


def bare(pages: Sequence[Path], outputs: Sequence[str]) -> float:
    """Seconds for the tesseract program over `pages`, two at a time."""
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}

    def read(page: Path) -> None:
        command = ["tesseract", str(page), str(page.with_suffix("")), *outputs]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(read, pages))
    return time.perf_counter() - begun


async def fleet(client: httpx.AsyncClient, pdf: Path, pages: int) -> float:
    """Seconds from the POST to the end of the job."""
    content = pdf.read_bytes()
    begun = time.perf_counter()
    answer = await client.post("/v1/ocr", files={"file": ("scan.pdf", content)})
    answer.raise_for_status()
    while True:
        job = (await client.get(answer.headers["location"])).json()
        if job["finished_at"]:
            assert job["state"] == "succeeded", job["error"]
            assert job["result"]["pages"] == pages
            return time.perf_counter() - begun
        await asyncio.sleep(0.05)


async def main(pages: int, rounds: int) -> None:
    """Alternate the three, `rounds` times, in a fleet of our own, and print medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pdf = folder / "scan.pdf"
        draw_scan(pdf, pages)
        images = rasterise(pdf, folder)
        environment = os.environ | {
            "ARGOSY_RUN_DIR": str(folder / "run"),
            "ARGOSY_PORT": str(free_port()),
            "OCR_CONCURRENCY": str(AT_ONCE),
        }
        local = [sys.executable, "-m", "deploy.local"]
        subprocess.run([*local, "up"], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        try:
            variables = dict(
                line.removeprefix("export ").replace("'", "").split("=", 1)
                for line in (folder / "run" / "dev.env").read_text().splitlines()
            )
            headers = {"Authorization": f"Bearer {variables['ARGOSY_KEY']}"}
            async with httpx.AsyncClient(base_url=variables["ARGOSY_URL"], headers=headers, timeout=60) as client:
                await measure(client, pdf, images, rounds)
        finally:
            subprocess.run([*local, "down"], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


async def measure(client: httpx.AsyncClient, pdf: Path, images: Sequence[Path], rounds: int) -> None:
    """One line a round, then the medians of the ratios."""
    text_ratios, all_ratios = [], []
    for _ in range(rounds):
        ours = await fleet(client, pdf, len(images))
        text_only = await asyncio.to_thread(bare, images, ["txt"])
        everything = await asyncio.to_thread(bare, images, ["txt", "tsv", "pdf"])
        text_ratios.append(ours / text_only)
        all_ratios.append(ours / everything)
        print(
            f"fleet {ours:6.2f} s   tesseract, text: {text_only:6.2f} s   text, tsv, pdf: {everything:6.2f} s",
            flush=True,
        )
    print(
        f"{len(images)} pages, medians of {rounds}:"
        f" fleet ÷ tesseract (text) = {statistics.median(text_ratios):.2f},"
        f" fleet ÷ tesseract (text+tsv+pdf) = {statistics.median(all_ratios):.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.pages, arguments.rounds))

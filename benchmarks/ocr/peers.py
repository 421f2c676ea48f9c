"""What the fleet is compared with: the bare tesseract program, and OCRmyPDF in an environment of its own."""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from benchmarks.peers.contenders import INSTALLED, CannotInstall, install_python

AT_ONCE = 2
ONE_THREAD = os.environ | {"OMP_THREAD_LIMIT": "1"}
MODES = ("--skip-text", "--redo-ocr", "--force-ocr")
"""What OCRmyPDF does with text that a page has."""
ASSUMED_DPI = ("--image-dpi", "300")
"""For pictures that do not state their resolution; OCRmyPDF refuses them otherwise."""


class Refused(Exception):
    """OCRmyPDF does not read a document. The message is its own."""


def bare(pages: Sequence[Path], outputs: Sequence[str]) -> None:
    """Let the tesseract program read `pages`, two at a time."""

    def read(page: Path) -> None:
        command = ["tesseract", str(page), str(page.with_suffix("")), *outputs]
        subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(read, pages))


@cache
def ocrmypdf_program() -> Path | None:
    """Install OCRmyPDF, and return its path; None if it cannot be installed. It needs Ghostscript."""
    home = INSTALLED / "ocrmypdf"
    try:
        install_python(home, ("ocrmypdf>=17.13",))
    except CannotInstall as reason:
        print(f"OCRmyPDF is left out: {reason}", flush=True)
        return None
    return home / "bin" / "ocrmypdf"


def ocrmypdf(program: Path, source: Path, result: Path, text: Path, *options: str) -> None:
    """Let OCRmyPDF write the PDF `result` and the file `text`. Raises Refused."""
    command = [str(program), "--jobs", str(AT_ONCE), "--output-type", "pdf", "--sidecar", str(text), *options]
    ended = None
    for more in ((), ASSUMED_DPI):
        ended = subprocess.run([*command, *more, "--quiet", str(source), str(result)], capture_output=True)
        if ended.returncode == 0:
            return
    said = ended.stderr.decode(errors="replace").split("\n") if ended else []
    raise Refused(next((line for line in said if line.strip()), "it says nothing"))

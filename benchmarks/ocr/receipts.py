"""Accuracy on photographed receipts with known text, if they are present beside this checkout."""

import asyncio
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

import pytesseract

from benchmarks.ocr.fleet import ROOT, Fleets, submitted
from benchmarks.ocr.peers import Refused, ocrmypdf, ocrmypdf_program
from benchmarks.ocr.scoring import Took, character_error_rate, timed, word_f1

RECEIPTS = ROOT.parent / "shared" / "data" / "scans" / "receipts"
PLAIN, OCRMYPDF = "image_to_string", "ocrmypdf"


async def compare(fleets: Fleets) -> None:
    """Print word F1, character error rate and time of the fleet, pytesseract and OCRmyPDF, in turn."""
    receipts = sorted(RECEIPTS.glob("*.jpg"))
    if not receipts:
        print("no ../shared/data/scans/receipts beside this checkout: accuracy is left out")
        return
    texts: dict[str, list[tuple[str, str]]] = {}
    took: dict[str, list[Took]] = {}
    os.environ["OMP_THREAD_LIMIT"] = "1"
    for receipt in receipts:
        rows = receipt.with_suffix(".csv").read_text(errors="replace").splitlines()
        truth = "\n".join(",".join(row.split(",")[8:]) for row in rows)
        for engine, (fleet, client) in fleets.items():
            job, seconds = await submitted(fleet, client, receipt)
            text = (await client.get(job["artifacts"][0]["url"])).text
            took.setdefault(engine, []).append(seconds)
            texts.setdefault(engine, []).append((text, truth))
        for name, (text, seconds) in (await asyncio.to_thread(_theirs, receipt)).items():
            took.setdefault(name, []).append(seconds)
            texts.setdefault(name, []).append((text, truth))
    print(f"{len(receipts)} receipts, one at a time")
    for name, pairs in texts.items():
        f1 = statistics.mean(word_f1(*pair) for pair in pairs)
        cer = statistics.mean(character_error_rate(*pair) for pair in pairs)
        wall, cpu = (
            sum(getattr(one, kind) for one in took[name]) / sum(getattr(one, kind) for one in took[PLAIN])
            for kind in ("wall", "cpu")
        )
        print(f"  {name:16} word F1 {f1:.3f}   CER {cer:.3f}   time {wall:.2f} x, CPU {cpu:.2f} x", flush=True)


def _theirs(receipt: Path) -> dict[str, tuple[str, Took]]:
    """The texts of the others, and what they took."""
    texts: list[str] = []
    plain = timed(lambda: texts.append(pytesseract.image_to_string(str(receipt))))
    found = {PLAIN: (texts[0], plain)}
    if program := ocrmypdf_program():
        with tempfile.TemporaryDirectory() as name:
            outputs = Path(name) / "document.pdf", Path(name) / "text.txt"
            try:
                seconds = timed(partial(ocrmypdf, program, receipt, *outputs))
            except Refused as reason:
                print(f"  OCRmyPDF, {receipt.name}: {reason}")
                return found
            found[OCRMYPDF] = outputs[1].read_text(), seconds
    return found

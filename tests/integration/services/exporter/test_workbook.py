"""LibreOffice shows what was exported, and runs none of it. `make libreoffice` needs it; others may lack it."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from libs.common.contracts.datasets import Column, Kind
from libs.common.db import Database
from services.exporter.workbook import Workbook
from tests.exporting import Exporter, write_recipients

PROGRAM = os.environ.get("LIBREOFFICE") or shutil.which("soffice")
AS_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
"""Commas, quotes, UTF-8; formulas as their results; every sheet to a file of its own."""
TEXTS = ("=1+1", "+1", "-5", "@SUM(A1)", '=HYPERLINK("http://x.example")', "007", "1e5", "TRUE", "a & <b>", "😀")


def opened(content: bytes, folder: Path) -> list[list[list[str]]]:
    """The rows of every sheet, as LibreOffice shows them."""
    assert PROGRAM is not None
    book = folder / "book.xlsx"
    book.write_bytes(content)
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = [PROGRAM, profile, "--headless", "--convert-to", AS_CSV, "--outdir", str(folder), str(book)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sheets = sorted(folder.glob("book-*.csv"), key=lambda path: (len(path.name), path.name))
    assert sheets, done.stdout + done.stderr
    return [list(csv.reader(path.read_text().splitlines(keepends=True))) for path in sheets]


@pytest.mark.long
@pytest.mark.skipif(PROGRAM is None, reason="LibreOffice is not installed: apt-get install libreoffice-calc-nogui")
async def test_libreoffice_shows_the_values_and_runs_no_formula(
    exporter: Exporter, database: Database, tmp_path: Path
) -> None:
    await write_recipients(database, "acme", TEXTS)
    file = await exporter.export(dataset="recipients", format="xlsx", columns=["number", "reply", "code"])
    (sheet,) = opened(file.content, tmp_path)
    assert sheet == [["number", "reply", "code"], *([str(n), text, "250"] for n, text in enumerate(TEXTS, 1))]


@pytest.mark.long
@pytest.mark.skipif(PROGRAM is None, reason="LibreOffice is not installed: apt-get install libreoffice-calc-nogui")
def test_libreoffice_shows_every_sheet(tmp_path: Path) -> None:
    book = Workbook("book", (Column("n", Kind.INTEGER, "n"),), rows_at_most=3)
    made = book.add(b"".join(f"<row><c><v>{n}</v></c></row>\n".encode() for n in range(5))) + book.end()
    assert opened(made, tmp_path) == [[["n"], ["0"], ["1"]], [["n"], ["2"], ["3"]], [["n"], ["4"]]]

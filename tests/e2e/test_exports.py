"""The commands of docs/exports.md, pasted as they stand; and the file in every format, opened by other readers."""

import csv
import json
import re
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import fastexcel
import openpyxl
import pytest
from pyarrow import parquet

from tests.e2e.pasting import blocks, checkout, paste

PAGE = "docs/exports.md"
FORMATS = ("csv", "jsonl", "xlsx", "parquet")


@pytest.mark.long
def test_the_page_of_exports_can_be_pasted_in_every_format(tmp_path: Path) -> None:
    first, link = blocks(PAGE)
    with checkout(tmp_path) as folder:
        said = paste(folder, first + link)
        read_by_others(folder, "csv")
        path, expires = re.findall(r'{"url":"(/v1/download/[^"]+)","expires_at":"([^"]+)"}', said)[0]
        url = dict(re.findall(r"export (\w+)='?([^'\n]*)", (folder / ".run/dev.env").read_text()))["ARGOSY_URL"]
        with urlopen(url + path) as answer:
            assert answer.read() == (folder / "jobs.csv").read_bytes()
        assert expires > "2026"
        for format_ in FORMATS[1:]:
            said = paste(folder, first.replace('"csv"', f'"{format_}"').replace("jobs.csv", f"jobs.{format_}"))
            assert '"files": [' in said
            read_by_others(folder, format_)


def read_by_others(folder: Path, format_: str) -> None:
    """The one job that each has: the export that was before it, or itself."""
    path = folder / f"jobs.{format_}"
    match format_:
        case "csv":
            rows = list(csv.DictReader(path.read_text().splitlines(keepends=True)))
        case "jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        case "xlsx":
            rows = fastexcel.read_excel(path).load_sheet(0, dtypes="string").to_arrow().to_pylist()
            sheet = openpyxl.load_workbook(BytesIO(path.read_bytes())).worksheets[0]
            assert sheet.max_row == len(rows) + 1
        case _:
            rows = parquet.read_table(path).to_pylist()
    assert len(rows) >= 1
    assert {row["queue"] for row in rows} == {"exporter"}
    assert all(re.fullmatch(r"job_[0-9a-f]{32}", row["id"]) for row in rows)

"""What others make of the same rows, which they have in memory already.

A peer that is not installed is left out: `pip install --target FOLDER xlsxwriter rustpy-xlsxwriter`, and
PYTHONPATH=FOLDER.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pyarrow import csv, parquet

from benchmarks.exports.rows import COLUMNS

Rows = Sequence[tuple[Any, ...]]


def xlsxwriter(rows: Rows, folder: Path) -> None:
    """XlsxWriter with constant memory."""
    book = import_module("xlsxwriter").Workbook(str(folder / "peer.xlsx"), {"constant_memory": True})
    sheet = book.add_worksheet()
    for number, row in enumerate(rows):
        for column, value in enumerate(row):
            sheet.write_string(number, column, str(value))
    book.close()


def rustpy_xlsxwriter(rows: Rows, folder: Path) -> None:
    """rustpy-xlsxwriter, which wants a dict a row."""
    documents = ({name: str(value) for name, value in zip(COLUMNS, row, strict=True)} for row in rows)
    import_module("rustpy_xlsxwriter").write_worksheet(documents, str(folder / "peer.xlsx"))


def pyarrow_alone(content: bytes, folder: Path) -> None:
    """CSV in memory to Parquet, with all that pyarrow has: threads, and all rows at once."""
    parquet.write_table(csv.read_csv(io.BytesIO(content)), folder / "peer.parquet", compression="zstd")


def writers_of_xlsx() -> Mapping[str, Callable[[Rows, Path], None]]:
    """Those that are installed. Prints which are not."""
    found = {}
    for name, write in (("rustpy_xlsxwriter", rustpy_xlsxwriter), ("xlsxwriter", xlsxwriter)):
        try:
            import_module(name)
        except ImportError:
            print(f"{name} is left out: it is not installed")
        else:
            found[name] = write
    return found

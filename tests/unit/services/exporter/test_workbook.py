"""A workbook is one that readers open, and is split into sheets where a sheet is full."""

import io
import itertools
import zipfile

import fastexcel
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.datasets import Column, Kind
from services.exporter import workbook
from services.exporter.workbook import ROWS_AT_MOST, Workbook

COLUMNS = (Column("n", Kind.INTEGER, "n"),)


def row(number: int) -> bytes:
    return f"<row><c><v>{number}</v></c></row>\n".encode()


@given(st.integers(0, 40), st.integers(2, 9), st.lists(st.integers(0, 1500), max_size=5))
def test_all_rows_come_in_order_wherever_pieces_end(rows: int, at_most: int, cuts: list[int]) -> None:
    text = b"".join(map(row, range(rows)))
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    book = Workbook("book", COLUMNS, rows_at_most=at_most)
    made = b"".join(book.add(text[a:b]) for a, b in itertools.pairwise(places)) + book.end()
    sheets = openpyxl.load_workbook(io.BytesIO(made)).worksheets
    found = [[cells[0] for cells in sheet.iter_rows(values_only=True)] for sheet in sheets]
    assert all(sheet[0] == "n" and len(sheet) <= at_most for sheet in found)
    assert [number for sheet in found for number in sheet[1:]] == [*range(rows)]
    assert len(sheets) == book.sheets == max(1, -(-rows // (at_most - 1)))
    assert sheets[0].title == "book"


def test_a_row_too_many_for_a_sheet_makes_a_second_one() -> None:
    book = Workbook("book", COLUMNS)
    made = book.add(row(7) * (ROWS_AT_MOST - 1)) + book.add(row(8)) + book.end()
    sheets = fastexcel.read_excel(made)
    assert sheets.sheet_names == ["book", "book 2"]
    assert [sheets.load_sheet(name).height for name in sheets.sheet_names] == [ROWS_AT_MOST - 1, 1]


def test_a_part_is_ended_before_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "PART_BYTES_AT_MOST", 100)
    book = Workbook("book", COLUMNS)
    made = b"".join([*(book.add(row(n)) for n in range(20)), book.end()])
    parts = zipfile.ZipFile(io.BytesIO(made)).infolist()
    assert book.sheets > 1
    assert not any(part.extra for part in parts)

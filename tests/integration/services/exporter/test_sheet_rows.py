"""Cells have what PostgreSQL has, as a number where a spreadsheet can keep it, else as text."""

import io
from datetime import datetime
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from libs.common.contracts.datasets import Column, Kind
from libs.common.db import CopyAs, Database
from services.exporter import sheet_rows
from services.exporter.workbook import Workbook

CASES: list[tuple[Kind, str, Any]] = [
    (Kind.INTEGER, "9007199254740992::bigint", 2**53),
    (Kind.INTEGER, "9223372036854775807::bigint", "9223372036854775807"),
    (Kind.INTEGER, "(-9223372036854775808)::bigint", "-9223372036854775808"),
    (Kind.INTEGER, "NULL::int", None),
    (Kind.NUMBER, "0::numeric", 0),
    (Kind.NUMBER, "-12.50::numeric", -12.5),
    (Kind.NUMBER, "123456789012345::numeric", 123456789012345),
    (Kind.NUMBER, "1234567890123456::numeric", "1234567890123456"),
    (Kind.NUMBER, "0.1234567890123456::numeric", "0.1234567890123456"),
    (Kind.NUMBER, "'NaN'::numeric", "NaN"),
    (Kind.NUMBER, "'-Infinity'::float8", "-Infinity"),
    (Kind.NUMBER, "1e308::numeric", "1" + "0" * 308),
    (Kind.NUMBER, "0.1::float8", 0.1),
    (Kind.TIME, "'2026-11-27 10:00:00.5Z'::timestamptz", datetime(2026, 11, 27, 10, 0, 0, 500_000)),
    (Kind.TIME, "'1900-01-01Z'::timestamptz", "1900-01-01 00:00:00+00"),
    (Kind.TIME, "'infinity'::timestamptz", "infinity"),
    (Kind.DATE, "'2026-11-27'::date", datetime(2026, 11, 27)),
    (Kind.DATE, "'1800-01-01'::date", "1800-01-01"),
    (Kind.TEXT, "'=1+1'", "=1+1"),
    (Kind.TEXT, "'a' || chr(1) || chr(8) || 'b' || chr(65535)", "ab"),
    (Kind.TEXT, "repeat('x', 32767)", "x" * 32_767),
    (Kind.TEXT, "repeat('x', 32768)", "x" * 32_767),
    (Kind.TEXT, "repeat('ä', 20000)", "ä" * 20_000),
    (Kind.TEXT, "repeat(U&'\\+01F600', 20000)", "😀" * 16_383),
    (Kind.TEXT, "'_x0041__x005F_'", "_x0041__x005F_"),
    (Kind.JSON, """'{"a": [1, "<"]}'::jsonb""", '{"a": [1, "<"]}'),
]


async def sheet(database: Database, kind: Kind, value: str) -> tuple[bytes, Workbook, bytes]:
    column = Column("v", kind, "v")
    query = sheet_rows.sheet_query(f'SELECT {value} AS "v"', (column,))
    async with database.copy(query, timeout_s=60, written=CopyAs.LINES) as copy:
        lines = b"".join([chunk async for chunk in copy.chunks])
    assert (copy.rows, lines.count(b"\n")) == (1, 1)
    book = Workbook("b", (column,))
    return book.add(lines) + book.end(), book, lines


@pytest.mark.parametrize(("kind", "value", "expected"), CASES)
async def test_a_value_is_read_as_it_was(database: Database, kind: Kind, value: str, expected: Any) -> None:
    made, _, _ = await sheet(database, kind, value)
    cell = openpyxl.load_workbook(io.BytesIO(made)).worksheets[0]["A2"]
    found = unescape(cell.value) if isinstance(cell.value, str) else cell.value
    assert found == expected
    assert cell.data_type != "f", "it is a formula"


async def test_cells_that_were_changed_can_be_counted(database: Database) -> None:
    for value, cut, stripped in (
        ("repeat('x', 32768)", 1, 0),
        ("'a' || chr(1)", 0, 1),
        ("'<c s=\"3\" t'", 0, 0),
        ("'a&b'", 0, 0),
    ):
        _, _, lines = await sheet(database, Kind.TEXT, value)
        assert (lines.count(sheet_rows.CUT), lines.count(sheet_rows.STRIPPED)) == (cut, stripped)

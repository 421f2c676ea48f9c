"""What a value becomes in CSV, JSON lines and Parquet."""

import csv
import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from pyarrow import parquet as reader

from libs.common.contracts.datasets import Column, Kind
from libs.common.db import CopyAs, Database
from services.exporter import parquet, values

FORMULAS = [
    ("=1+1", "'=1+1"),
    ("+cmd|x", "'+cmd|x"),
    ("-5", "-5"),
    ("-1.5", "-1.5"),
    ("-1-1", "'-1-1"),
    ("@SUM(1)", "'@SUM(1)"),
    ("\tx", "'\tx"),
    ("\rx", "'\rx"),
    ("a=1", "a=1"),
    ("", ""),
]


async def copied(database: Database, query: str, written: CopyAs) -> bytes:
    async with database.copy(query, timeout_s=60, written=written) as copy:
        return b"".join([chunk async for chunk in copy.chunks])


async def as_json(database: Database, kind: Kind, value: str) -> Any:
    query = values.jsonl_query(f"SELECT {value} AS v", (Column("v", kind, "v"),))
    (line,) = (await copied(database, query, CopyAs.LINES)).decode().splitlines()
    return json.loads(line)["v"]


@pytest.mark.parametrize(("text", "expected"), FORMULAS)
async def test_formulas_are_made_safe_where_that_is_wanted(database: Database, text: str, expected: str) -> None:
    column = Column("v", Kind.TEXT, "v")
    literal = "'" + text.replace("'", "''") + "'::text"
    for excel_safe, wanted in ((False, text), (True, expected)):
        query = values.csv_query(f"SELECT {literal} AS v", (column,), excel_safe=excel_safe)
        content = (await copied(database, query, CopyAs.CSV)).decode()
        assert [row["v"] for row in csv.DictReader(io.StringIO(content, newline=""))] == [wanted]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.NUMBER, "'NaN'::numeric", None),
        (Kind.NUMBER, "'Infinity'::float8", None),
        (Kind.NUMBER, "'-Infinity'::numeric", None),
        (Kind.NUMBER, "NULL::numeric", None),
        (Kind.NUMBER, "12.50::numeric", 12.5),
        (Kind.INTEGER, "9223372036854775807::bigint", 2**63 - 1),
        (Kind.TIME, "'2026-11-27 12:00:00.25+02'::timestamptz", "2026-11-27T10:00:00.250000Z"),
        (Kind.TIME, "'infinity'::timestamptz", "infinity"),
        (Kind.DATE, "'2026-11-27'::date", "2026-11-27"),
        (Kind.JSON, """E'{"a":\\n[1,\\r\\n2]}'::json""", {"a": [1, 2]}),
        (Kind.TEXT, "chr(1) || chr(2) || E'\\n'", "\x01\x02\n"),
    ],
)
async def test_json_lines(database: Database, kind: Kind, value: str, expected: Any) -> None:
    assert await as_json(database, kind, value) == expected


async def test_numbers_that_are_none_are_counted_and_nothing_else(database: Database) -> None:
    columns = (Column("n", Kind.NUMBER, "n"), Column("d", Kind.JSON, "d"), Column("t", Kind.TEXT, "t"))
    rows = """SELECT * FROM (VALUES ('NaN'::float8, E'{"x":\\tnull}'::json, E'\\tnull'), (NULL, NULL, NULL),
        (1.5, '[null]', 'null'), ('-Infinity', '"\\tnull"', '')) AS v (n, d, t)"""
    text = await copied(database, values.jsonl_query(rows, columns), CopyAs.LINES)
    assert text.count(values.NULLED) == 2
    assert [json.loads(line)["n"] for line in text.splitlines()] == [None, None, 1.5, None]
    assert json.loads(text.splitlines()[0]) == {"n": None, "d": {"x": None}, "t": "\tnull"}


async def test_parquet(database: Database) -> None:
    columns = tuple(Column(f"c{number}", kind, "v") for number, kind in enumerate(Kind) if kind is not Kind.ID)
    made_of = {
        Kind.TEXT: "'a,\"b\"'::text",
        Kind.INTEGER: "9223372036854775807::bigint",
        Kind.NUMBER: "'NaN'::numeric",
        Kind.TIME: "'2026-11-27 10:00:00.123456Z'::timestamptz",
        Kind.DATE: "'2026-11-27'::date",
        Kind.JSON: "'{\"a\": 1}'::jsonb",
    }
    selected = "SELECT " + ", ".join(f'{made_of[column.kind]} AS "{column.name}"' for column in columns)
    query = values.parquet_query(selected, columns)
    async with database.copy(query, timeout_s=60) as copy:
        made = b"".join([piece async for piece in parquet.written(columns, copy.chunks)])
    (row,) = reader.read_table(io.BytesIO(made)).to_pylist()
    text, whole, number, moment, day, document = row.values()
    assert (text, whole, document) == ('a,"b"', 2**63 - 1, '{"a": 1}')
    assert math.isnan(number)
    assert moment == datetime(2026, 11, 27, 10, 0, 0, 123456, tzinfo=UTC)
    assert day.isoformat() == "2026-11-27"
    endless = values.parquet_query("SELECT 'infinity'::timestamptz AS c4", (Column("c4", Kind.TIME, "v"),))
    assert (await copied(database, endless, CopyAs.CSV)).decode() == "c4\n\n"

"""Records of CSV."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.sync import SourceSpec
from services.sync.reading.answers import About
from services.sync.reading.csv_records import csv_records
from services.sync.reading.mapping import Unreadable
from services.sync.refusals import UnreadableBody

SPEC = SourceSpec.model_validate({"url": "https://example.org/", "format": "csv"})


def records(body: bytes, content_type: str = "") -> list[Any]:
    return list(csv_records(body, SPEC, About("https://example.org/", content_type)).records)


@pytest.mark.parametrize(
    "body",
    [
        b"id,name\n1,Water\n2,Light\n",
        b"id,name\r\n1,Water\r\n\r\n2,Light",
        b"id;name\n1;Water\n2;Light\n",
        b"id\tname\n1\tWater\n2\tLight\n",
        b"\xef\xbb\xbfid,name\n1,Water\n2,Light\n",
        'id, "name"\n1,Water\n2,Light\n'.replace(', "name"', ',"name"').encode("utf-16"),
        b"id,name,\n1,Water,\n2,Light\n",
        b"id,name\r1,Water\r2,Light\r",
    ],
)
def test_rows_are_named(body: bytes) -> None:
    assert records(body) == [{"id": "1", "name": "Water"}, {"id": "2", "name": "Light"}]


def test_text_in_quotes() -> None:
    assert records(b'id,name\n1,"a, ""b""\nc"\n') == [{"id": "1", "name": 'a, "b"\nc'}]


@pytest.mark.parametrize(
    ("encoding", "content_type"), [("cp1252", ""), ("iso-8859-2", "text/csv; charset=iso-8859-2")]
)
def test_encodings(encoding: str, content_type: str) -> None:
    assert records("id,name\n1,é".encode(encoding), content_type) == [{"id": "1", "name": "é"}]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"<html><body>", b'{"a": 1}', b"," * 2_000])
def test_what_is_no_table(body: bytes) -> None:
    with pytest.raises(UnreadableBody):
        records(body)


@pytest.mark.parametrize(
    "bad", ["2,Light,too,many", '2,"never ends', '2,"ends" early', '2,"' + "x" * 70_000, "2," + "x" * 70_000]
)
def test_a_bad_row_costs_no_other(bad: str) -> None:
    found = records(f"id,name\n1,Water\n{bad}\n3,Air\n".encode())
    assert [one if isinstance(one, dict) else type(one) for one in found] == [
        {"id": "1", "name": "Water"},
        Unreadable,
        {"id": "3", "name": "Air"},
    ]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_what_was_written_is_read(rows: list[tuple[str, str]]) -> None:
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    assert records(written.getvalue().encode()) == [{"a": one, "b": two} for one, two in rows]


@given(st.binary(max_size=80))
def test_nothing_else_happens(body: bytes) -> None:
    for start in (b"", b"id,name\n"):
        try:
            records(start + body)
        except UnreadableBody:
            continue

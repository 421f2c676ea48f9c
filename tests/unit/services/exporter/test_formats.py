"""Each format makes a file of what comes, and says what it had to change."""

import gzip
import io
from collections.abc import AsyncIterator

import openpyxl
import pytest

from libs.common.contracts.exports import ExportRequest
from services.exporter import formats
from services.exporter.formats import writer_of
from services.exporter.refusals import TooLarge


async def lines(*given: bytes) -> AsyncIterator[bytes]:
    for line in given:
        yield line


def request(format_: str, **options: object) -> ExportRequest:
    wanted = {"dataset": "jobs", "format": format_, "columns": ["state"], "options": options}
    return ExportRequest.model_validate(wanted)


async def test_text_passes_as_it_is() -> None:
    writer = writer_of("jobs", request("csv", bom=True, compression="gzip"), "")
    made = b"".join([piece async for piece in writer.write(lines(b"state\n", b"queued\n"))])
    assert gzip.decompress(made) == b"\xef\xbb\xbfstate\nqueued\n"


async def test_cells_that_were_cut_are_told() -> None:
    writer = writer_of("jobs", request("xlsx"), "")
    row = b'<row><c s="3" t="inlineStr"><is><t>x</t></is></c></row>\n'
    made = b"".join([piece async for piece in writer.write(lines(row[:9], row[9:]))])
    assert openpyxl.load_workbook(io.BytesIO(made)).worksheets[0]["A2"].value == "x"
    assert writer.facts() == {"sheets": 1, "truncated_cells": 1, "stripped_cells": 0}


async def test_numbers_that_are_none_are_counted() -> None:
    writer = writer_of("jobs", request("jsonl"), "")
    told = b'{"a":\tnull,"b":null,"c":"\\tnull","d":{"e": null}}\n'
    assert b"".join([piece async for piece in writer.write(lines(told[:8], told[8:]))]) == told
    assert writer.facts() == {"null_numbers": 1}


async def test_a_workbook_is_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "ROWS_OF_A_WORKBOOK_AT_MOST", 1)
    writer = writer_of("jobs", request("xlsx"), "")
    writer.counter.add(b"\n\n")
    with pytest.raises(TooLarge, match="jobs: A workbook may have"):
        _ = [piece async for piece in writer.write(lines(b"<row/>\n"))]

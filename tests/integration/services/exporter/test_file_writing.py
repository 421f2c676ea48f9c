"""Files have what was there, exactly, in every format, read back by independent readers."""

import csv
import gzip
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import fastexcel
import openpyxl
import pytest
from openpyxl.utils.escape import unescape
from pyarrow import parquet

from libs.common.contracts.ids import public_id
from libs.common.db import Database, fetch_within
from tests.exporting import Exporter, File, write_recipients

OPPORTUNITY = """
INSERT INTO sync.opportunities (tenant, id, source, key, title, summary, extra, raw, language,
  digest, first_run, last_run)
SELECT $1, id, id, $2, '', '', '{}', '{}', 'english', '', id, id FROM (SELECT gen_random_uuid() AS id) AS made
"""
NASTY = (
    None,
    "",
    " ",
    "plain",
    "007",
    "1e5",
    "TRUE",
    "=1+1",
    "+49 30 1",
    "-5",
    "@SUM(A1)",
    'quote " and, comma',
    "line\nbreak",
    "line\r\nend",
    "tab\tstop",
    "😀 emoji",
    "שלום עולם",
    "<b>&amp;</b>",
    "_x0041_ is not A",
    "\\.",
    "'",
    "ends with newline\n",
    "9223372036854775807",
    "]]>",
)
"""Texts that some writer or reader takes for something else."""


def by_csv(content: bytes) -> list[str]:
    return [row["reply"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]


def by_json(content: bytes) -> list[str | None]:
    return [json.loads(line)["reply"] for line in content.decode().removesuffix("\n").split("\n")]


def by_pyarrow(content: bytes) -> list[Any]:
    return [row["reply"] for row in parquet.read_table(io.BytesIO(content)).to_pylist()]


def by_openpyxl(content: bytes) -> list[Any]:
    sheet = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]
    head, *rows = sheet.iter_rows(values_only=True)
    return [unescape(text) if isinstance(text, str) else text for text in column(head, rows)]


def column(head: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> list[Any]:
    return [row[head.index("reply")] for row in rows]


def by_fastexcel(content: bytes) -> list[Any]:
    sheet = fastexcel.read_excel(content).load_sheet(0, dtypes="string")
    columns = sheet.to_arrow().to_pydict()
    return list(columns["reply"])


Reader = Callable[[bytes], list[Any]]


@pytest.mark.parametrize(
    ("format_", "read"),
    [("csv", by_csv), ("jsonl", by_json), ("xlsx", by_openpyxl), ("xlsx", by_fastexcel), ("parquet", by_pyarrow)],
)
async def test_nasty_text_comes_back(exporter: Exporter, database: Database, format_: str, read: Reader) -> None:
    await write_recipients(database, "acme", NASTY)
    file = await exporter.export(dataset="recipients", format=format_, columns=["number", "reply"])
    expected = [text or "" for text in NASTY] if read is by_csv else list(NASTY)
    assert read(file.content) == expected
    assert file.result["rows"] == len(NASTY)


async def test_since_tells_all_that_an_earlier_file_may_lack(exporter: Exporter, database: Database) -> None:
    """A row that was written before the first file and committed after it would be missed by its time."""
    wanted: dict[str, Any] = {"dataset": "opportunities", "format": "jsonl", "columns": ["key"]}
    await database.fetch(OPPORTUNITY, "acme", "before")
    async with database.begin() as late:
        await fetch_within(late, OPPORTUNITY, "acme", "late")
        first_job = await exporter.submit(**wanted)
        await exporter.work()
    first = await exporter.file(first_job)
    await database.fetch(OPPORTUNITY, "acme", "after")
    since = public_id(first_job.id)
    second = await exporter.export(**wanted, since=since)
    assert keys(first) == ["before"]
    assert set(keys(second)) >= {"late", "after"}
    assert set(keys(first)) | set(keys(second)) == {"before", "late", "after"}
    job = await exporter.submit(**wanted | {"dataset": "opportunity_changes", "columns": ["what"]}, since=since)
    other = await exporter.submit("globex", **wanted, since=since)
    await exporter.work()
    for refused in (job, other):
        facts = await exporter.facts(refused)
        assert (facts["state"], facts["errors"][-1]["code"]) == ("failed", "since_unknown")


async def test_no_rows_are_a_file_too(exporter: Exporter) -> None:
    for format_, content in (("csv", b"address\n"), ("jsonl", b"")):
        file = await exporter.export(dataset="suppressions", format=format_, columns=["address"])
        assert (file.content, file.result["rows"]) == (content, 0)
    file = await exporter.export(dataset="suppressions", format="xlsx", columns=["address"])
    sheet = openpyxl.load_workbook(io.BytesIO(file.content)).worksheets[0]
    assert [*sheet.iter_rows(values_only=True)] == [("address",)]
    file = await exporter.export(dataset="suppressions", format="parquet", columns=["address"])
    assert parquet.read_table(io.BytesIO(file.content)).to_pylist() == []


async def test_options_are_kept_to(exporter: Exporter, database: Database) -> None:
    await write_recipients(database, "acme", ["=1+1"])
    wanted: dict[str, Any] = {"dataset": "recipients", "format": "csv", "columns": ["reply"]}
    options = {"compression": "gzip", "bom": True, "excel_safe": True}
    file = await exporter.export(**wanted, options=options)
    assert gzip.decompress(file.content) == b"\xef\xbb\xbfreply\n'=1+1\n"


async def test_no_more_files_are_written_at_once_than_may(
    exporter: Exporter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = most = 0
    copy = Database.copy

    @asynccontextmanager
    async def counted(self: Database, *args: Any, **named: Any) -> AsyncIterator[Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            async with copy(self, *args, **named) as made:
                yield made
        finally:
            running -= 1

    monkeypatch.setattr(Database, "copy", counted)
    also = [{"dataset": "suppressions", "format": "csv"}] * 9
    for job in [await exporter.submit(dataset="suppressions", format="csv", also=also) for _ in range(2)]:
        await exporter.work()
        assert len(await exporter.files(job)) == 10
    assert 1 < most <= exporter.deps.settings.export_concurrency


def keys(file: File) -> list[str]:
    return [json.loads(line)["key"] for line in file.content.decode().splitlines()]

"""The formats of files: what PostgreSQL is asked for, how rows are counted, and what is made of what it sends."""

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing

from libs.common.contracts.exports import ExportRequest, FileFormat
from libs.common.db import CopyAs
from services.exporter import parquet, sheet_rows, values
from services.exporter.counting import Counter, CsvRows, Occurrences
from services.exporter.refusals import TooLarge
from services.exporter.workbook import Workbook

ROWS_OF_A_WORKBOOK_AT_MOST = 20_000_000
_AT_ONCE = 256 * 1024
"""Bytes handed to a thread at once: enough that the way there costs nothing beside the work."""
_BOM = b"\xef\xbb\xbf"
_GZIP = 31
"""The window of zlib for a gzip file."""


class FileWriter(ABC):
    """Makes a file of what COPY sends."""

    query: str
    written: CopyAs
    counter: Counter
    """Of rows."""

    @abstractmethod
    def write(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The file, while the rows come."""

    def facts(self) -> dict[str, int]:
        """What the job's result says of a file of this format besides, when it is whole: numbers that add up."""
        return {}


def writer_of(name: str, request: ExportRequest, selected: str) -> FileWriter:
    """The writer of the file `name` that `request` asks for, of the rows that the query `selected` has."""
    match request.format:
        case FileFormat.CSV:
            return CsvWriter(request, selected)
        case FileFormat.JSONL:
            return JsonlWriter(request, selected)
        case FileFormat.XLSX:
            return XlsxWriter(name, request, selected)
        case FileFormat.PARQUET:
            return ParquetWriter(request, selected)


class CsvWriter(FileWriter):
    """CSV, as PostgreSQL writes it (RFC 4180, but for the line ends)."""

    written = CopyAs.CSV

    def __init__(self, request: ExportRequest, selected: str) -> None:
        self.query = values.csv_query(selected, request.chosen, excel_safe=request.options.excel_safe)
        self.counter = CsvRows()
        self._request = request

    async def write(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The text, after a byte order mark if it is wanted."""
        if self._request.options.bom:
            chunks = _after(_BOM, chunks)
        async for piece in _compressed(self._request, chunks):
            yield piece


class JsonlWriter(FileWriter):
    """A JSON object a line."""

    written = CopyAs.LINES

    def __init__(self, request: ExportRequest, selected: str) -> None:
        self.query = values.jsonl_query(selected, request.chosen)
        self.counter = Occurrences(b"\n")
        self._request = request
        self._nulled = Occurrences(values.NULLED)

    async def write(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The text as it comes."""
        async for piece in _compressed(self._request, self._watched(chunks)):
            yield piece

    def facts(self) -> dict[str, int]:
        """Numbers that are none, and so `null`."""
        return {"null_numbers": self._nulled.found}

    async def _watched(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._nulled.add(chunk)
            yield chunk


class XlsxWriter(FileWriter):
    """A workbook, with a new sheet where one is full."""

    written = CopyAs.LINES

    def __init__(self, name: str, request: ExportRequest, selected: str) -> None:
        self.query = sheet_rows.sheet_query(selected, request.chosen)
        self.counter = Occurrences(b"\n")
        self._name = name
        self._workbook = Workbook(request.dataset, request.chosen)
        self._cut = Occurrences(sheet_rows.CUT)
        self._stripped = Occurrences(sheet_rows.STRIPPED)

    async def write(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The workbook. Raises TooLarge."""
        async for lines in _gathered(chunks):
            if self.counter.found > ROWS_OF_A_WORKBOOK_AT_MOST:
                raise TooLarge(self._name)
            if made := await asyncio.to_thread(self._add, lines):
                yield made
        yield await asyncio.to_thread(self._workbook.end)

    def facts(self) -> dict[str, int]:
        """Sheets, and cells whose text could not be written as it is."""
        return {
            "sheets": self._workbook.sheets,
            "truncated_cells": self._cut.found,
            "stripped_cells": self._stripped.found,
        }

    def _add(self, lines: bytes) -> bytes:
        self._cut.add(lines)
        self._stripped.add(lines)
        return self._workbook.add(lines)


class ParquetWriter(FileWriter):
    """Parquet, made in another process."""

    written = CopyAs.CSV

    def __init__(self, request: ExportRequest, selected: str) -> None:
        self.query = values.parquet_query(selected, request.chosen)
        self.counter = CsvRows()
        self._columns = request.chosen

    async def write(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The file. Raises ChildFailed."""
        async with aclosing(parquet.written(self._columns, chunks)) as made:
            async for piece in made:
                yield piece


async def _after(first: bytes, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _compressed(request: ExportRequest, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if request.options.compression == "none":
        async for chunk in chunks:
            yield chunk
        return
    deflate = zlib.compressobj(1, wbits=_GZIP)
    async for piece in _gathered(chunks):
        if made := await asyncio.to_thread(deflate.compress, piece):
            yield made
    yield deflate.flush()


async def _gathered(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about _AT_ONCE."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _AT_ONCE:
            yield b"".join(held)
            held.clear()
            size = 0
    if held:
        yield b"".join(held)

"""Parquet is whole or it is an error; and no process is left behind."""

import io
from collections.abc import AsyncIterator

import psutil
import pytest
from pyarrow import parquet as reader

from libs.common.contracts.datasets import Column, Kind
from services.exporter import parquet
from services.exporter.parquet import ChildFailed
from tests.polling import until

CHILD = "services.exporter.parquet_child"
COLUMNS = (Column("n", Kind.INTEGER, "n"), Column("t", Kind.TEXT, "t"))


async def lines(*given: bytes) -> AsyncIterator[bytes]:
    for line in given:
        yield line


def children() -> list[psutil.Process]:
    """Those that write Parquet. One that has ended tells no command line."""
    ours = {one.pid for one in psutil.Process().children(recursive=True)}
    named = psutil.process_iter(["pid", "cmdline"])
    return [one for one in named if one.pid in ours and CHILD in (one.info["cmdline"] or ())]


async def test_rows_come_back_with_their_types() -> None:
    made = b"".join([piece async for piece in parquet.written(COLUMNS, lines(b'n,t\n1,"a\nb"\n,""\n2,', b"\n"))])
    table = reader.read_table(io.BytesIO(made))
    assert table.to_pylist() == [{"n": 1, "t": "a\nb"}, {"n": None, "t": ""}, {"n": 2, "t": None}]
    assert not children()


async def test_what_breaks_off_is_no_file() -> None:
    class Lost(Exception):
        pass

    async def breaking() -> AsyncIterator[bytes]:
        yield b"n,t\n1,a\n"
        raise Lost

    with pytest.raises(Lost):
        async for _ in parquet.written(COLUMNS, breaking()):
            pass
    assert not children()


async def test_a_killed_process_is_an_error() -> None:
    async def killing() -> AsyncIterator[bytes]:
        yield b"n,t\n"
        (child,) = children()
        child.kill()
        for _ in range(1000):
            yield b"1,a\n" * 10_000

    with pytest.raises(ChildFailed):
        async for _ in parquet.written(COLUMNS, killing()):
            pass
    assert not children()


async def test_who_stops_reading_stops_the_process() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"n,t\n"
        while True:
            yield b"1,a\n" * 10_000

    made = parquet.written(COLUMNS, endless())
    assert await anext(made)
    assert children()
    await made.aclose()

    async def gone() -> bool:
        return not children()

    await until(gone)

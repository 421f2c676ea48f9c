"""Rows are counted right wherever the pieces of a text end, and the pace is kept."""

import asyncio
import csv
import io
import itertools
import time
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from services.exporter.counting import Counter, CsvRows, Occurrences, Pace

CELLS = st.lists(st.lists(st.text('aä,"\n\r', max_size=4), min_size=1, max_size=3), max_size=20)
CUTS = st.lists(st.integers(0, 200), max_size=8)


def pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


def counted(counter: Counter, text: bytes, cuts: list[int]) -> int:
    for piece in pieces(text, cuts):
        counter.add(piece)
    return counter.found


@given(CELLS, CUTS)
def test_csv_has_as_many_rows_as_its_reader_finds(rows: list[list[str]], cuts: list[int]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    assert counted(CsvRows(), text.getvalue().encode(), cuts) == len(rows)


@given(st.text("<c s3", max_size=100), CUTS)
def test_a_mark_is_found_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    assert counted(Occurrences(b"<c s"), text.encode(), cuts) == text.count("<c s")
    assert counted(Occurrences(b"c"), text.encode(), cuts) == text.count("c")


async def test_rows_do_not_come_faster_than_they_may() -> None:
    told: list[tuple[int, int | None, int | None]] = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x\n" * 10

    counters = [Occurrences(b"\n"), Occurrences(b"\n")]
    pace = Pace(counters, lambda *facts: told.append(facts), expected=80, rows_per_s=200)
    begun = time.monotonic()
    files = await asyncio.gather(*(handed_on(pace.watch(counter, chunks())) for counter in counters))
    assert files == [[b"x\n" * 10] * 4] * 2
    assert time.monotonic() - begun >= 0.4, "both files together keep to the pace"
    assert told[0][:2] == (10, 80)


async def handed_on(chunks: AsyncIterator[bytes]) -> list[bytes]:
    return [chunk async for chunk in chunks]

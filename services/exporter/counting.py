"""Counts rows in what COPY sends, tells how far the files are, and keeps to the pace."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Protocol

TOLD_EVERY_S = 0.5
_NO_MARKS = bytes(byte for byte in range(256) if byte not in b'"\n')


class Counter(Protocol):
    """Counts in a text whose pieces may end anywhere."""

    found: int

    def add(self, piece: bytes) -> None:
        """Count in the next piece."""


class Occurrences:
    """How often a few bytes occur."""

    def __init__(self, of: bytes) -> None:
        self.found = 0
        self._of = of
        self._kept = len(of) - 1
        self._last = b""

    def add(self, piece: bytes) -> None:
        """Count in the next piece, also what began in the one before."""
        self.found += piece.count(self._of)
        if self._kept:
            self.found += (self._last + piece[: self._kept]).count(self._of)
            self._last = (self._last + piece)[-self._kept :]


class CsvRows:
    """The lines of CSV: line breaks outside of quotes. The header is one."""

    def __init__(self) -> None:
        self.found = 0
        self._quoted = False

    def add(self, piece: bytes) -> None:
        """Count in the next piece. Two quotes side by side change nothing, so few are looked at one by one."""
        marks = piece.translate(None, _NO_MARKS).replace(b'""', b"")
        for number, part in enumerate(marks.split(b'"')):
            self._quoted ^= number > 0
            if not self._quoted:
                self.found += len(part)


class Pace:
    """Tells the progress of files, and waits where their rows come faster than `rows_per_s` (0: never).

    `progress` is told how many rows there are, how many are expected, and how many seconds are left.
    """

    def __init__(
        self,
        counters: Sequence[Counter],
        progress: Callable[[int, int | None, int | None], None],
        *,
        expected: int | None,
        rows_per_s: int,
    ) -> None:
        self._counters = counters
        self._progress = progress
        self._expected = expected
        self._rows_per_s = rows_per_s
        self._begun = time.monotonic()
        self._told_at = 0.0

    async def watch(self, counter: Counter, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Hand the chunks of one file on. `counter`, one of those given, counts in them."""
        async for chunk in chunks:
            counter.add(chunk)
            self._tell()
            yield chunk
            if self._rows_per_s:
                ahead_s = self._found / self._rows_per_s - (time.monotonic() - self._begun)
                await asyncio.sleep(max(0.0, ahead_s))

    @property
    def _found(self) -> int:
        return sum(counter.found for counter in self._counters)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        rows, expected = self._found, self._expected
        if expected is None or not rows:
            self._progress(rows, None, None)
            return
        expected = max(expected, rows)
        self._progress(rows, expected, round((expected - rows) * (now - self._begun) / rows))

"""Hands over what the server copies out, chunk by chunk, while it copies."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from libs.common import background
from libs.common.db_opening import Driver
from libs.common.errors import ArgosyError


class CopyTooSlow(ArgosyError):
    """Reading a result took longer than it may."""


class CopyAs(Enum):
    """How a result is written. Times are in UTC, text is in UTF-8."""

    CSV = "csv"
    """With a header."""
    LINES = "lines"
    """The query has one column of text, without line breaks and control characters: each value is a line."""


# What the text of a line has not, so that nothing in it is quoted.
_OPTIONS: Mapping[CopyAs, dict[str, Any]] = {
    CopyAs.CSV: {"header": True},
    CopyAs.LINES: {"header": False, "delimiter": "\x02", "quote": "\x01"},
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was committed at one moment. It can be read until its block ends."""

    name: str
    """By which other transactions of this server take it over."""
    seen: str
    """What it sees, as pg_current_snapshot() tells it."""
    as_of: datetime
    """All that was committed before is in it."""
    until: float
    """When its time is over, on the clock of the event loop."""

    @property
    def left_s(self) -> float:
        """The seconds that it still has."""
        return self.until - asyncio.get_running_loop().time()


@dataclass(slots=True)
class Copy:
    """The result of a query, as of one moment."""

    chunks: AsyncGenerator[bytes]
    """The text, in pieces that may end anywhere. A reader that is slow slows the server down."""
    rows: int | None = None
    """How many there were, when all have been read."""


async def chunks_of(
    driver: Driver,
    sql: str,
    args: Sequence[object],
    timeout_s: float,
    *,
    written: CopyAs,
    counted: Callable[[int], None],
) -> AsyncGenerator[bytes]:
    """What COPY sends of the query. If it is closed early, the server is told to stop.

    At the end, `counted` is told how many rows there were.

    Raises CopyTooSlow beyond `timeout_s` seconds, whoever was slow; and what the driver raises.
    """
    handed: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(maxsize=1)

    async def hand_over(chunk: memoryview) -> None:
        await handed.put(bytes(chunk))

    async def copy() -> None:
        try:
            # Without a number, the driver would stop at the time limit of its connection.
            status = await driver.copy_from_query(
                sql, *args, output=hand_over, format="csv", timeout=timeout_s, **_OPTIONS[written]
            )
            counted(int(re.sub(r"\D", "", status)))  # COPY 3
        except Exception as error:
            await handed.put(error)
        else:
            await handed.put(None)

    copying = background.Tasks()
    copying.start(copy())
    try:
        while isinstance(chunk := await handed.get(), bytes):
            yield chunk
    finally:
        await copying.end()
    if isinstance(chunk, TimeoutError):
        raise CopyTooSlow(f"Reading the result took longer than {timeout_s:g} s.") from chunk
    if chunk is not None:
        raise chunk

"""Hands over what the server copies out, chunk by chunk, while it copies."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.common import background
from libs.common.db_opening import Driver
from libs.common.errors import ArgosyError


class CopyTooSlow(ArgosyError):
    """Reading a result took longer than it may."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The result of a query as CSV (UTF-8, with a header), as of one moment."""

    snapshot: str
    """What the query sees, as pg_current_snapshot() tells it."""
    as_of: datetime
    """All that was committed before is in the result."""
    chunks: AsyncGenerator[bytes]
    """The text, in pieces that may end anywhere. A reader that is slow slows the server down."""


async def chunks_of(driver: Driver, sql: str, args: Sequence[object], timeout_s: float) -> AsyncGenerator[bytes]:
    """What COPY sends of the query. If it is closed early, the server is told to stop.

    Raises CopyTooSlow beyond `timeout_s` seconds, whoever was slow; and what the driver raises.
    """
    handed: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(maxsize=1)

    async def hand_over(chunk: memoryview) -> None:
        await handed.put(bytes(chunk))

    async def copy() -> None:
        try:
            # Without a number, the driver would stop at the time limit of its connection.
            await driver.copy_from_query(
                sql, *args, output=hand_over, format="csv", header=True, timeout=timeout_s
            )
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

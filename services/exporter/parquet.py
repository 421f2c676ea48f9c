"""Parquet, made by pyarrow in a process of its own (parquet_child.py): CSV goes in, and the file comes out."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from pathlib import Path

import orjson

from libs.common import background
from libs.common.blobs import CHUNK
from libs.common.contracts.datasets import Column
from libs.common.errors import ArgosyError

_CHILD = "services.exporter.parquet_child"
_ROOT = Path(__file__).parents[2]


class ChildFailed(ArgosyError):
    """The process that writes Parquet has ended before its file was whole."""


async def written(columns: tuple[Column, ...], chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """The file of these rows. Raises ChildFailed."""
    schema = orjson.dumps([[column.name, column.kind] for column in columns]).decode()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", _CHILD, schema, stdin=PIPE, stdout=PIPE, limit=CHUNK, cwd=_ROOT
    )
    feeding = background.Tasks()
    fed = feeding.start(_feed(child, chunks))
    try:
        assert child.stdout is not None  # noqa: S101
        while made := await child.stdout.read(CHUNK):
            yield made
        await fed
        if await child.wait():
            raise ChildFailed
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await feeding.end()
        await child.wait()


async def _feed(child: Process, chunks: AsyncIterable[bytes]) -> None:
    assert child.stdin is not None  # noqa: S101
    try:
        async for chunk in chunks:
            child.stdin.write(chunk)
            await child.stdin.drain()
    except ConnectionError as error:
        raise ChildFailed from error
    finally:
        child.stdin.close()

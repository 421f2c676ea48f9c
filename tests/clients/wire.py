"""A wire between two programs of this machine: all that goes over it takes as long as between two hosts.

Its end does too. Whoever closes a connection that was idle can then meet a request that is just on its way.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES, CHUNKS_ON_THE_WAY = 65_536, 64


@asynccontextmanager
async def wire(port: int, *, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to another one of this machine, while the block runs. `delay_s`: each way."""

    async def connect(reader: StreamReader, writer: StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(reader, far_writer, delay_s))
                ways.create_task(_carry(far_reader, writer, delay_s))
        except* OSError:
            pass  # one end has broken it off, and so does the other
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _carry(source: StreamReader, sink: StreamWriter, delay_s: float) -> None:
    """Deliver each chunk when it is due, and then the end. What comes next is on its way meanwhile."""
    clock = asyncio.get_running_loop().time
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY)

    async def send() -> None:
        chunk = b"-"
        while chunk:
            chunk = await source.read(CHUNK_BYTES)
            await on_the_way.put((clock() + delay_s, chunk))

    async def deliver() -> None:
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(due - clock())
            if not chunk:
                sink.write_eof()
                return
            sink.write(chunk)
            await sink.drain()

    async with asyncio.TaskGroup() as ways:
        ways.create_task(send())
        ways.create_task(deliver())

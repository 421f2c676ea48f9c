"""A wire between two programs of this machine: all that goes over it takes as long as between two hosts.

Its end does too. Whoever closes a connection that was idle can then meet a request that is just on its way.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

CHUNK_BYTES, CHUNKS_ON_THE_WAY = 65_536, 64


@contextmanager
def wire(port: int, *, delay_s: float) -> Iterator[int]:
    """A port that leads to another one of this machine, while the block runs. `delay_s`: each way.

    It has a thread of its own, because whoever stops a proxy waits for it, and it for its connections.
    """
    began: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(partial(_connect, port, delay_s), "127.0.0.1", 0)
        began.set_result((server.sockets[0].getsockname()[1], partial(loop.call_soon_threadsafe, stop.set)))
        await stop.wait()

    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(asyncio.run, serve())
        near, stop = began.result()
        try:
            yield near
        finally:
            stop()
            serving.result()


async def _connect(port: int, delay_s: float, reader: StreamReader, writer: StreamWriter) -> None:
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_carry(reader, far_writer, delay_s))
            ways.create_task(_carry(far_reader, writer, delay_s))
    except* (OSError, asyncio.CancelledError):  # one end has broken it off, or the wire is taken away
        far_writer.transport.abort()
        writer.transport.abort()
    finally:
        far_writer.close()
        writer.close()


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

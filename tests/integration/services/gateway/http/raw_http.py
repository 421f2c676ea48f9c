"""HTTP as bytes: what no client would send."""

import asyncio
import socket

from tests.integration.services.gateway.live import LiveGateway


async def raw(live: LiveGateway, *parts: bytes, pause_s: float = 0.0, patience_s: float = 60.0) -> bytes:
    """Send `parts`, with a pause after each; everything that comes back until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(patience_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def sent_first(port: int, *parts: bytes, patience_s: float = 90.0) -> bytes:
    """What comes back, until the server closes, for a client that reads nothing until it has sent all `parts`.

    Raises ConnectionError: the connection was reset, and what had come with it.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
        return received

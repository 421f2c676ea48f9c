"""HTTP as bytes: what no client would send."""

import asyncio

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

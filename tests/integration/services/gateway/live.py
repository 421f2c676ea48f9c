"""Gateways as processes of their own, spoken to over TCP."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from deploy.local.test_servers import Trio, free_port
from tests.limits import NO_LIMITS
from tests.polling import until

ROOT = Path(__file__).resolve().parents[4]


class LiveGateway:
    """One process, on a port of its own."""

    def __init__(self, environment: Mapping[str, str], folder: Path, port: int, command: Sequence[str]) -> None:
        self._command = command
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"gateway-{port}.log"
        self._environment = {**os.environ, **environment, "GATEWAY_PORT": str(port)}
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", *self._command]
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=output, stderr=output)

    async def ready(self) -> None:
        """Wait until it serves."""
        async with httpx.AsyncClient(timeout=5) as client:

            async def serves() -> bool:
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                try:
                    return (await client.get(f"{self.url}/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(serves)

    async def restart(self) -> None:
        """SIGTERM, its end, and another one in its place."""
        self.process.terminate()
        await asyncio.to_thread(self.process.wait)
        self.process = self._started()
        await self.ready()

    def close(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def serving(
    servers: Trio,
    database_url: str,
    folder: Path,
    *,
    number: int = 1,
    wait: bool = True,
    command: Sequence[str] = ("services.gateway",),
    **settings: str,
) -> AsyncIterator[list[LiveGateway]]:
    """`number` gateways while the block runs, without limits but for what `settings` say; ready, if `wait`.

    `command`: another module, and its arguments, which serves as one.
    """
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis.urls["gateway"],
        "NATS_URL": servers.nats.url,
        "BLOB_URL": (folder / "blobs").as_uri(),
        "PROBES_PORT": "0",
        "LIMITS": NO_LIMITS,
        "LIMITS_BUDGET_MS": "1000",
        **settings,
    }
    gateways = [LiveGateway(environment, folder, free_port(), command) for _ in range(number)]
    try:
        for gateway in gateways if wait else ():
            await gateway.ready()
        yield gateways
    finally:
        for gateway in gateways:
            gateway.close()

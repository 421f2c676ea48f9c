"""python -m benchmarks.gateway.outages: what clients see when Redis, NATS and PostgreSQL are killed under load.

Sixteen clients submit small jobs to one gateway, without retries. Each server in turn is killed (SIGKILL), is down
for some seconds, and is started again; Redis starts empty. At the end every job with a 202 response must be in the
ledger.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvloop

from benchmarks.gateway.__main__ import LIMITS, key_for, started
from deploy.local import servers
from deploy.local.test_servers import free_port
from deploy.migrations.__main__ import upgrade
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.ids import parse_id
from tests.server_process import ServerProcess

CLIENTS = 16
SECONDS = 4.0
"""Length of each phase: before the first kill, while a server is down, and after its restart."""


class Seen:
    """Status codes, errors and slowest responses as seen by the clients, by phase."""

    def __init__(self) -> None:
        self.phase = ""
        self.codes: dict[str, Counter[str]] = {}
        self.slowest_s: dict[str, float] = {}
        self.accepted: set[str] = set()
        self.over = False

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase = phase
        self.codes[phase] = Counter()
        self.slowest_s[phase] = 0.0

    def note(self, phase: str, code: str, seconds: float) -> None:
        """Count one response to a request that was sent in `phase`."""
        self.codes[phase][code] += 1
        self.slowest_s[phase] = max(self.slowest_s[phase], seconds)


@contextmanager
def three(folder: Path) -> Iterator[dict[str, ServerProcess]]:
    """Run the three servers while the block runs. They can be killed and restarted."""
    password = servers.new_password()
    found = {
        "redis": ServerProcess(servers.redis(folder / "redis", free_port(), password), folder),
        "nats": ServerProcess(servers.nats(folder / "nats", free_port(), password), folder),
        "postgres": ServerProcess(servers.postgres(folder / "postgres", free_port(), password), folder),
    }
    for server in found.values():
        server.start()
    try:
        yield found
    finally:
        for server in found.values():
            server.stop(signal.SIGKILL)


async def submit(client: httpx.AsyncClient, url: str, seen: Seen) -> None:
    """Submit one job after the other until the run is over."""
    while not seen.over:
        phase, begun = seen.phase, time.monotonic()
        try:
            answer = await client.post(f"{url}/work", json={"number": 1})
        except httpx.TransportError as error:
            seen.note(phase, type(error).__name__, time.monotonic() - begun)
            continue
        seen.note(phase, str(answer.status_code), time.monotonic() - begun)
        if answer.status_code == 202:
            seen.accepted.add(answer.json()["id"])


async def maltreat(found: dict[str, ServerProcess], url: str, key: str) -> Seen:
    """Kill one server after the other, under load."""
    seen = Seen()
    seen.enter("all there")
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        clients = [asyncio.create_task(submit(client, url, seen)) for _ in range(CLIENTS)]
        await asyncio.sleep(SECONDS)
        for name, server in found.items():
            seen.enter(f"{name} killed")
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            await asyncio.sleep(SECONDS)
            if name == "redis":
                for file in (server.folder / "redis").rglob("*.aof"):
                    file.unlink()
            seen.enter(f"{name} back")
            await asyncio.to_thread(server.start)
            await asyncio.sleep(SECONDS)
        seen.over = True
        await asyncio.gather(*clients)
    return seen


async def lost(settings: DatabaseSettings, seen: Seen) -> int:
    """Count the jobs that got a 202 response and are not in the ledger."""
    async with db.connect(settings, "bench", role=None) as database:
        rows = await database.fetch("SELECT id FROM ledger.jobs")
    return len({parse_id(job) for job in seen.accepted} - {row[0] for row in rows})


def main() -> None:
    """Run the benchmark, and print the results."""
    with tempfile.TemporaryDirectory() as name, three(Path(name)) as found:
        folder = Path(name)
        settings = DatabaseSettings.model_validate({"database_url": found["postgres"].server.url})
        upgrade(settings)
        environment = {
            "DATABASE_URL": found["postgres"].server.url,
            "REDIS_URL": found["redis"].server.url,
            "NATS_URL": found["nats"].server.url,
            "BLOB_URL": f"file://{folder}/blobs",
            "PROBES_PORT": "0",
            "LIMITS": LIMITS,
        }
        key = uvloop.run(key_for(settings))
        with started([sys.executable, "-m", "benchmarks.gateway.served"], environment, folder) as url:
            seen = uvloop.run(maltreat(found, url, key))
        print(f"\n{CLIENTS} clients that submit and never try again; {SECONDS:.0f} s a phase")
        for phase, codes in seen.codes.items():
            told = ", ".join(f"{code}: {number}" for code, number in codes.most_common())
            print(f"  {phase:16} {told}; slowest {seen.slowest_s[phase]:.2f} s")
        print(f"accepted {len(seen.accepted)}, of these not in the ledger: {uvloop.run(lost(settings, seen))}")


if __name__ == "__main__":
    main()

"""What accepts jobs, in this process, and an exporter in a process of its own that does them."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import psutil

from benchmarks.exports.rows import TENANT, request_of
from deploy.local.ports import free_port
from deploy.local.test_servers import Trio
from deploy.migrations.__main__ import upgrade
from libs.common.bus import connect as connect_bus
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.exports import FilePayload
from libs.common.contracts.services import EXPORTER
from libs.common.db import Database
from libs.common.db import connect as connect_database
from libs.common.ledger.jobs import NewJob
from services.gateway.engine.dispatcher import Dispatcher

SAMPLED_EVERY_S = 0.1
# nats-py imports aiohttp, 7 MB, where it is installed. Of the workers, only sync has it.
_AS_IN_ITS_IMAGE = "import sys; sys.modules['aiohttp'] = None; from services.exporter.__main__ import main; main()"
_FIRST_BYTE = "argosy_export_first_byte_seconds_sum"
_ENDED = "SELECT state, errors FROM ledger.jobs WHERE id = $1 AND finished_at IS NOT NULL"


@dataclass(slots=True)
class Memory:
    """The resident memory of a process over time, and of its children, in MB."""

    worker: list[float] = field(default_factory=list)
    child: list[float] = field(default_factory=list)

    def sample(self, process: psutil.Process) -> None:
        """Look once."""
        children = [_rss_mb(child) for child in process.children(recursive=True)]
        self.worker.append(_rss_mb(process))
        self.child.append(max(children, default=0.0))


@dataclass(frozen=True, slots=True)
class Fleet:
    """A gateway's accepting part, and one exporter."""

    owner: Database
    dispatcher: Dispatcher
    probes: int
    exporter: psutil.Process

    async def submit(self, format_: str) -> NewJob:
        """Accept an export of all rows."""
        payload = FilePayload(request=request_of(format_)).model_dump_json(by_alias=True).encode()
        job = NewJob(TENANT, TENANT, EXPORTER.name, "file", payload, max_attempts=1)
        await self.dispatcher.accept(job)
        return job

    async def has_ended(self, job: NewJob) -> bool:
        """Whether it has succeeded. Raises AssertionError if it has failed."""
        rows = await self.owner.fetch(_ENDED, job.id)
        assert not rows or rows[0][0] == "succeeded", rows[0][1]
        return bool(rows)

    async def watched(self, job: NewJob) -> Memory:
        """Wait for its end, and look at the exporter's memory meanwhile."""
        memory = Memory()
        while not await self.has_ended(job):
            memory.sample(self.exporter)
            await asyncio.sleep(SAMPLED_EVERY_S)
        return memory

    def first_byte_s(self) -> float:
        """Of all files until now, together."""
        with urlopen(f"http://127.0.0.1:{self.probes}/metrics") as answer:
            found = re.search(rf"^{_FIRST_BYTE} (\S+)$", answer.read().decode(), re.M)
        return float(found[1]) if found else 0.0


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def _exporter(servers: Trio, folder: Path, probes: int, rows_per_s: int) -> Iterator[psutil.Process]:
    environment = os.environ | {
        "DATABASE_URL": servers.postgres.url,
        "NATS_URL": servers.nats.url,
        "BLOB_URL": (folder / "blobs").as_uri(),
        "PROBES_PORT": str(probes),
        "EXPORT_ROWS_PER_S": str(rows_per_s),
        "LINK_SECRET": "x" * 32,
    }
    with (folder / "exporter.log").open("ab") as log:
        command = [sys.executable, "-c", _AS_IN_ITS_IMAGE]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def fleet(servers: Trio, folder: Path, *, rows_per_s: int = 0) -> AsyncIterator[Fleet]:
    """Run it while the block runs."""
    database_settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    bus_settings = BusSettings.model_validate({"nats_url": servers.nats.url})
    await asyncio.to_thread(upgrade, database_settings)
    probes = free_port()
    async with (
        connect_database(database_settings, "bench", role=None) as owner,
        connect_bus(bus_settings, "bench") as bus,
    ):
        dispatcher = Dispatcher(owner, bus, [EXPORTER.name, "ocr"])
        dispatching = asyncio.create_task(dispatcher.run())
        with _exporter(servers, folder, probes, rows_per_s) as exporter:
            while not await owner.fetch("SELECT FROM ledger.workers WHERE queue = $1", EXPORTER.name):
                await asyncio.sleep(0.1)
            yield Fleet(owner, dispatcher, probes, exporter)
        dispatching.cancel()
        await owner.fetch("DELETE FROM ledger.workers")

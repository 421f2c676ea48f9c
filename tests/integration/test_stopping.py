"""Every service ends when it is told to, whatever it waits for."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from deploy.local.test_servers import Trio, answers, free_port
from libs.common.contracts import services
from libs.common.db import Database
from tests.analysing import SECRET
from tests.network import Network
from tests.polling import until

ROOT = Path(__file__).resolve().parents[2]
SERVICES = tuple(service.name for service in services.SERVICES)
WORKERS = services.QUEUES
WITHIN_S = 25.0
"""Kubernetes kills after 30."""


class Process:
    """A service, told to stop and watched."""

    def __init__(self, service: str, environment: Mapping[str, str], folder: Path) -> None:
        self._service = service
        self.log = folder / f"{service}.log"
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        everything = {**os.environ, **environment, "GATEWAY_PORT": str(port), "PROBES_PORT": "0"}
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", f"services.{service}"]
            self.popen = subprocess.Popen(command, cwd=ROOT, env=everything, stdout=output, stderr=output)

    async def says(self, what: str) -> None:
        """Wait until it is in its log."""

        async def said() -> bool:
            assert self.popen.poll() is None, self.log.read_text()
            return what in self.log.read_text()

        await until(said)

    async def works(self) -> None:
        """Wait until it serves or takes jobs."""

        async def working() -> bool:
            assert self.popen.poll() is None, self.log.read_text()
            return answers(self._url) or "worker.registered" in self.log.read_text()

        await until(working)

    async def has_found(self, database: Database) -> None:
        """Wait until it has connected to the database: what it waits for next is NATS."""
        sql, name = "SELECT FROM pg_stat_activity WHERE application_name = $1", f"argosy-{self._service}"

        async def connected() -> bool:
            assert self.popen.poll() is None, self.log.read_text()
            return bool(await database.fetch(sql, name))

        await until(connected)

    async def stops(self) -> int:
        """Tell it to, and wait for that: its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.popen.wait, WITHIN_S)


async def all_stop_quietly(processes: Sequence[Process]) -> None:
    """They have done nothing yet, so there is nothing to say."""
    codes = await asyncio.gather(*(process.stops() for process in processes))
    assert codes == [0] * len(processes)
    for process in processes:
        assert "Traceback" not in process.log.read_text(), process.log.read_text()


@contextmanager
def started(
    environment: Mapping[str, str], folder: Path, services: Sequence[str] = SERVICES
) -> Iterator[list[Process]]:
    """These services while the block runs."""
    with ExitStack() as stack:
        processes = [Process(service, environment, folder) for service in services]
        for process in processes:
            stack.callback(process.popen.wait)
            stack.callback(process.popen.kill)
        yield processes


@asynccontextmanager
async def by_network(
    servers: Trio, database_url: str, folder: Path
) -> AsyncIterator[tuple[dict[str, str], dict[str, Network]]]:
    """The environment of services that reach their servers by networks, and these."""
    urls = {"postgres": database_url, "redis": servers.redis.url, "nats": servers.nats.url}
    async with AsyncExitStack() as stack:
        networks = {name: await stack.enter_async_context(Network(url).open()) for name, url in urls.items()}
        environment = {
            "DATABASE_URL": networks["postgres"].url,
            "REDIS_URL": networks["redis"].url,
            "NATS_URL": networks["nats"].url,
            "BLOB_URL": (folder / "blobs").as_uri(),
            "ANALYTICS_SECRET": SECRET,
            "SYNC_SECRET": SECRET,
            "LINK_SECRET": SECRET,
        }
        yield environment, networks


async def test_who_still_waits_for_the_database(servers: Trio, database_url: str, tmp_path: Path) -> None:
    async with by_network(servers, database_url, tmp_path) as (environment, _):
        nowhere = f"postgresql://argosy:argosy@127.0.0.1:{free_port()}/argosy"
        with started(environment | {"DATABASE_URL": nowhere}, tmp_path) as processes:
            for process in processes:
                await process.says("database.waiting")
            await all_stop_quietly(processes)


async def test_who_waits_for_a_database_that_says_nothing(
    servers: Trio, database_url: str, tmp_path: Path
) -> None:
    async with by_network(servers, database_url, tmp_path) as (environment, networks):
        networks["postgres"].hold_up()
        with started(environment, tmp_path) as processes:
            for process in processes:
                await process.says("probes.listening")
            await until(networks["postgres"].used_by(len(SERVICES)))
            await all_stop_quietly(processes)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_worker_that_still_waits_for_nats(
    servers: Trio, database_url: str, database: Database, tmp_path: Path, silent: bool
) -> None:
    async with by_network(servers, database_url, tmp_path) as (environment, networks):
        networks["nats"].hold_up()
        if not silent:
            environment["NATS_URL"] = f"nats://127.0.0.1:{free_port()}"
        with started(environment, tmp_path, WORKERS) as processes:
            for process in processes:
                await process.has_found(database)
            await all_stop_quietly(processes)


@pytest.mark.parametrize("server", ["postgres", "redis", "nats"])
async def test_who_has_lost_a_server(servers: Trio, database_url: str, tmp_path: Path, server: str) -> None:
    """It does not refuse: it says nothing any more."""
    async with by_network(servers, database_url, tmp_path) as (environment, networks):
        with started(environment, tmp_path) as processes:
            for process in processes:
                await process.works()
            networks[server].hold_up()
            codes = await asyncio.gather(*(process.stops() for process in processes))
        assert codes == [-signal.SIGTERM, *(0 for _ in WORKERS)], (
            "uvicorn passes the signal on when it has served all"
        )

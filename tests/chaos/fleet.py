"""A fleet to be maltreated: its own servers, two gateways and two workers, each restarted when it dies."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson

from deploy.local import servers
from deploy.local.servers import Server
from deploy.local.test_servers import answers, free_port
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.ledger import consistency_check
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.limits import NO_LIMITS

ROOT = Path(__file__).resolve().parents[2]
GATEWAYS = 2
WORKERS = 2
MAX_CONNECTIONS = 60


class Kept:
    """A process that is started again whenever it ends."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._environment = os.environ | environment
        self._log = folder / f"{name}.log"
        self.process = self._start()
        self._keeping = asyncio.create_task(self._keep())

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if self.process.poll() is not None:
                self.process = self._start()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """End it for good."""
        self._keeping.cancel()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class ServerProcess:
    """One of the three servers; it stays down when it dies, until it is started again."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / f"{self.server.name}.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.server.command, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not answers(self.server.url):
            assert self._process.poll() is None, f"{self.server.name} did not start"
            assert time.monotonic() < deadline, f"{self.server.name} does not answer"
            time.sleep(0.02)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing while the block runs, and its connections stay open."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        assert self._process is not None
        if number is signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._process.wait()


class Fleet:
    """Everything that runs, and what tests say to it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        password = servers.new_password()
        self.postgres = ServerProcess(
            servers.postgres(folder / "postgres", free_port(), password, f"max_connections={MAX_CONNECTIONS}"),
            folder,
        )
        self.redis = ServerProcess(servers.redis(folder / "redis", free_port(), password), folder)
        self.nats = ServerProcess(servers.nats(folder / "nats", free_port(), password), folder)
        self.gateways: list[Kept] = []
        self.workers: list[Kept] = []
        self._ports: list[int] = []
        self._key = ""
        self._http = httpx.AsyncClient(timeout=20)

    @property
    def database_url(self) -> str:
        """Of the ledger."""
        return self.postgres.server.url

    async def start(self) -> None:
        """Everything, until it serves."""
        for server in (self.postgres, self.redis, self.nats):
            await asyncio.to_thread(server.start)
        settings = DatabaseSettings.model_validate({"database_url": self.database_url})
        # In a process of its own: Alembic keeps its state in globals, and fleets start side by side.
        address = os.environ | {"DATABASE_URL": self.database_url}
        command = [sys.executable, "-m", "deploy.migrations"]
        migrating = await asyncio.create_subprocess_exec(*command, env=address, cwd=ROOT)
        assert await migrating.wait() == 0
        async with db.connect(settings, "chaos", role=None) as database:
            await database.fetch("CREATE TABLE effects (job uuid NOT NULL, attempt int NOT NULL)")
            await database.fetch("GRANT INSERT ON effects TO argosy_worker")
            self._key = (await issue(database, "dev", "chaos", "chaos", Role.ADMIN)).key
        environment = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis.server.urls["gateway"],
            "NATS_URL": self.nats.server.url,
            "BLOB_URL": (self.folder / "blobs").as_uri(),
            "PROBES_PORT": "0",
            "DB_MAX_CONNECTIONS": "4",
            "LIMITS": f"{NO_LIMITS}, ip=1000000/min, ocr=1000000/min",
        }
        for number in range(GATEWAYS):
            port = free_port()
            self._ports.append(port)
            command = [sys.executable, "-m", "tests.chaos.gateway"]
            variables = environment | {"GATEWAY_PORT": str(port)}
            self.gateways.append(Kept(f"gateway-{number}", command, variables, self.folder))
        for number in range(WORKERS):
            command = [sys.executable, "-m", "tests.chaos.worker"]
            self.workers.append(Kept(f"worker-{number}", command, environment, self.folder))
        await self.until_workers_live()

    async def until_workers_live(self) -> None:
        """Wait until every worker is in the ledger, and no other."""
        while True:
            with suppress(*LOST):
                async with self.connected() as connection:
                    alive, known = await connection.fetchrow(
                        "SELECT count(*) FILTER (WHERE heartbeat_at > now() - interval '15 s'), count(*)"
                        " FROM ledger.workers"
                    )
                    if alive == known == WORKERS:
                        return
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """A connection to the ledger, beside the fleet's."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def submit(self, jobs: int, **work: float) -> int:
        """Submit so many jobs over HTTP, each until it is accepted; how many requests it took."""
        places = asyncio.Semaphore(20)
        prefix = f"{self.chance.getrandbits(64):x}"
        tries = 0

        async def one(number: int) -> None:
            nonlocal tries
            async with places:
                while True:
                    tries += 1
                    if await self._post(number + tries, f"{prefix}-{number}", work):
                        return
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(one(number) for number in range(jobs)))
        return tries

    async def _post(self, turn: int, idempotency_key: str, work: dict[str, float]) -> bool:
        url = f"http://127.0.0.1:{self._ports[turn % GATEWAYS]}/v1/chaos"
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": idempotency_key}
        try:
            answer = await self._http.post(url, content=orjson.dumps(work), headers=headers)
        except httpx.HTTPError:
            return False
        if "x-request-id" not in answer.headers:
            return False  # a stranger, who took the port while the gateway was dead
        assert answer.status_code in (202, 503), answer.text
        return answer.status_code == 202

    async def until_ended(self) -> None:
        """Wait until no job is unfinished."""
        while True:
            with suppress(*LOST):
                async with self.connected() as connection:
                    if not await connection.fetchval("SELECT count(*) FROM ledger.jobs WHERE finished_at IS NULL"):
                        return
            await asyncio.sleep(0.1)

    async def pause(self) -> None:
        """Let jobs gather."""
        async with self.connected() as connection:
            await connection.execute(
                "INSERT INTO ledger.queues (name, paused_at) VALUES ('chaos', now())"
                " ON CONFLICT (name) DO UPDATE SET paused_at = now()"
            )

    async def resume(self) -> None:
        """Let those that have gathered run, all at once."""
        async with self.connected() as connection:
            await connection.execute("UPDATE ledger.queues SET paused_at = NULL")

    async def throughput(self, jobs: int, sleep_s: float) -> float:
        """Jobs a second from the first start to the last end, of so many jobs that wait together."""
        async with self.connected() as connection:
            since = await connection.fetchval("SELECT now()")
            await self.pause()
            await self.submit(jobs, sleep_s=sleep_s)
            await self.resume()
            await self.until_ended()
            seconds = await connection.fetchval(
                "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM ledger.jobs"
                " WHERE created_at >= $1",
                since,
            )
        return jobs / float(seconds)

    async def account(self) -> dict[str, int]:
        """The end of it all: jobs by what went wrong with them."""
        settings = DatabaseSettings.model_validate({"database_url": self.database_url})
        async with db.connect(settings, "chaos", role=None) as database:
            (row,) = await database.fetch(
                """SELECT count(*), count(*) FILTER (WHERE state <> 'succeeded'),
                          coalesce(sum(attempt - 1 - (children > 0)::int), 0),
                          count(*) FILTER (WHERE effects = 0), count(*) FILTER (WHERE effects > 1)
                   FROM ledger.jobs j CROSS JOIN LATERAL (
                     SELECT count(*) AS effects FROM effects WHERE job = j.id) e"""
            )
            (balance,) = await consistency_check.balance(database)
        names = ("jobs", "not_succeeded", "more_attempts", "lost", "twice")
        return dict(zip(names, row, strict=True)) | {
            "unaccounted": balance["unaccounted"],
            "misbooked": balance["accepted"] - row[0] + balance["ended"] - row[0],
        }

    async def close(self) -> None:
        """End everything."""
        await self._http.aclose()
        for kept in (*self.workers, *self.gateways):
            kept.close()
        for server in (self.postgres, self.redis, self.nats):
            with suppress(ProcessLookupError, AssertionError):
                server.stop(signal.SIGKILL)


LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@contextmanager
def printed_logs(folder: Path) -> Iterator[None]:
    """If the block fails, show the end of every log."""
    try:
        yield
    except BaseException:
        for path in sorted(folder.glob("*.log")):
            print(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}")
        raise

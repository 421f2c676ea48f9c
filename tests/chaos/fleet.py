"""A fleet to be maltreated: its own servers, two gateways and two workers, each restarted when it dies."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson

from deploy.local import servers
from deploy.local.test_servers import free_port
from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.ledger import consistency_check
from tests.limits import NO_LIMITS
from tests.server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
GATEWAYS = 2
WORKERS = 2
TENANTS = ("chaos", "another")
MAX_CONNECTIONS = 60


class Kept:
    """A process that is started again whenever it ends. `code` is the folder of its version."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], folder: Path, code: Path = ROOT
    ) -> None:
        self.name = name
        self.code = code
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
                cwd=self.code,
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

    async def end(self) -> None:
        """Let it end by itself, as a rollout does, for good."""
        self._keeping.cancel()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait)
        self.close()

    def close(self) -> None:
        """End it for good."""
        self._keeping.cancel()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Fleet:
    """Everything that runs, and what tests say to it.

    `gateway` and `worker` are the modules that run; `settings` are theirs, beside those that all have.
    """

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        *,
        gateway: str = "tests.chaos.gateway",
        worker: str = "tests.chaos.worker",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.chance = chance
        self._gateway, self._worker, self._settings = gateway, worker, settings or {}
        password = servers.new_password()
        self.postgres = ServerProcess(
            servers.postgres(folder / "postgres", free_port(), password, f"max_connections={MAX_CONNECTIONS}"),
            folder,
        )
        self.redis = ServerProcess(servers.redis(folder / "redis", free_port(), password), folder)
        self.redis_url = self.redis.server.urls["gateway"]
        self.limits = f"{NO_LIMITS}, ip=1000000/min, ocr=1000000/min"
        self.nats = ServerProcess(servers.nats(folder / "nats", free_port(), password), folder)
        self.gateways: list[Kept] = []
        self.workers: list[Kept] = []
        self._ports: list[int] = []
        self._keys: dict[str, str] = {}
        self._http = httpx.AsyncClient(timeout=20)

    @property
    def database_url(self) -> str:
        """Of the ledger."""
        return self.postgres.server.url

    async def start(self, code: Path = ROOT) -> None:
        """Everything, until it serves; gateways and workers are of the version in the folder `code`."""
        for server in (self.postgres, self.redis, self.nats):
            await asyncio.to_thread(server.start)
        await self.migrate(code)
        async with self.connected() as connection:
            await connection.execute("CREATE TABLE effects (job uuid NOT NULL, attempt int NOT NULL)")
            await connection.execute("GRANT INSERT ON effects TO argosy_worker")
        self._keys = {tenant: await self._new_key(code, tenant) for tenant in TENANTS}
        for number in range(GATEWAYS):
            self._ports.append(self._start_gateway(f"gateway-{number}", code))
        for number in range(WORKERS):
            self._start_worker(f"worker-{number}", code)
        await asyncio.gather(self.until_workers_live(), *map(self._until_ready, self._ports))

    async def migrate(self, code: Path = ROOT) -> None:
        """Bring the schema to that of a version."""
        await self._run(code, "deploy.migrations")

    async def _new_key(self, code: Path, tenant: str) -> str:
        return (await self._run(code, "services.gateway.keys", tenant)).strip()

    async def _run(self, code: Path, module: str, *arguments: str) -> str:
        # In a process of its own: Alembic keeps its state in globals, and fleets start side by side.
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env=os.environ | self._environment,
            cwd=code,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await running.communicate()
        assert running.returncode == 0, module
        return told.decode()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "NATS_URL": self.nats.server.url,
            "BLOB_URL": (self.folder / "blobs").as_uri(),
            "PROBES_PORT": "0",
            "DB_MAX_CONNECTIONS": "4",
            "LIMITS": self.limits,
            **self._settings,
        }

    def _start_gateway(self, name: str, code: Path) -> int:
        """One more; returns its port."""
        port = free_port()
        command = [sys.executable, "-m", self._gateway]
        variables = self._environment | {"GATEWAY_PORT": str(port)}
        self.gateways.append(Kept(name, command, variables, self.folder, code))
        return port

    def _start_worker(self, name: str, code: Path) -> None:
        command = [sys.executable, "-m", self._worker]
        self.workers.append(Kept(name, command, self._environment, self.folder, code))

    async def replace_gateway(self, name: str, code: Path) -> None:
        """As a rollout does: the oldest ends when a new one is ready. Callers know at once which are there."""
        port = self._start_gateway(name, code)
        await self._until_ready(port)
        self._ports = [*self._ports[1:], port]
        await self.gateways.pop(0).end()

    async def _until_ready(self, port: int) -> None:
        while True:
            with suppress(httpx.HTTPError):
                if (await self._http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.1)

    async def replace_worker(self, name: str, code: Path) -> None:
        """As a rollout does: the oldest ends when a new one is there."""
        self._start_worker(name, code)
        await self.until_workers_live(WORKERS + 1)
        await self.workers.pop(0).end()
        await self.until_workers_live()

    async def until_workers_live(self, number: int = WORKERS) -> None:
        """Wait until so many workers are in the ledger, and no other."""
        while True:
            with suppress(*LOST):
                async with self.connected() as connection:
                    alive, known = await connection.fetchrow(
                        "SELECT count(*) FILTER (WHERE heartbeat_at > now() - interval '15 s'), count(*)"
                        " FROM ledger.workers"
                    )
                    if alive == known == number:
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

    async def submit(self, jobs: int, tenant: str = TENANTS[0], **work: float) -> int:
        """Submit so many jobs over HTTP, each until it is accepted; how many requests it took."""
        places = asyncio.Semaphore(20)
        prefix = f"{self.chance.getrandbits(64):x}"
        tries = 0

        async def one(number: int) -> None:
            nonlocal tries
            async with places:
                while True:
                    tries += 1
                    if await self._post(tenant, number + tries, f"{prefix}-{number}", work):
                        return
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(one(number) for number in range(jobs)))
        return tries

    async def _post(self, tenant: str, turn: int, idempotency_key: str, work: dict[str, float]) -> bool:
        headers = {"Idempotency-Key": idempotency_key}
        answer = await self.request("POST", "/v1/chaos", work, tenant=tenant, turn=turn, headers=headers)
        if answer is None:
            return False
        assert answer.status_code in (202, 503), answer.text
        return answer.status_code == 202

    async def request(
        self,
        method: str,
        path: str,
        document: Any,
        *,
        tenant: str,
        turn: int = 0,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20.0,
    ) -> httpx.Response | None:
        """What one of the gateways, in `turn`, answers to a request with a JSON document. None: nothing."""
        url = f"http://127.0.0.1:{self._ports[turn % len(self._ports)]}{path}"
        fields = {"Authorization": f"Bearer {self._keys[tenant]}", "Content-Type": "application/json"}
        try:
            answer = await self._http.request(
                method,
                url,
                content=orjson.dumps(document),
                headers=fields | dict(headers or {}),
                timeout=timeout_s,
            )
        except httpx.HTTPError:
            return None
        # Without this field it is a stranger, who took the port while the gateway was dead.
        return answer if "x-request-id" in answer.headers else None

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

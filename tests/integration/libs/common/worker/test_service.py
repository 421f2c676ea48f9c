"""A worker process from its settings to SIGTERM."""

import asyncio
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import orjson

from deploy.local.test_servers import Trio, free_port
from libs.common import rpc
from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, find
from tests.polling import until

SERVICE = """
import asyncio, os
from contextlib import asynccontextmanager
from pydantic import BaseModel
from libs.common.config import WorkerSettings
from libs.common.errors import Reject
from libs.common.worker.job import Done
from libs.common.worker.service import Service, main

class Settings(WorkerSettings):
    tides_height: int = 3

    @property
    def slots(self):
        return 2

class Payload(BaseModel):
    wait_s: float = 0

@asynccontextmanager
async def resources(settings, platform):
    print("opened", flush=True)
    yield settings.tides_height
    print("closed", flush=True)

async def handle(job, height):
    await asyncio.sleep(job.payload.wait_s)
    return Done({"height": height, "secret": os.environ.get("DATABASE_URL")})

async def measure(tenant, request, height):
    return {"of": tenant, "height": height}

main(Service("tides", Settings, Payload, resources, handle, rpc_handlers={"measure": measure}))
"""
ROOT = Path(__file__).resolve().parents[5]


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
    except OSError:
        return 0


async def test_a_service_works_answers_and_ends_when_told_to(
    servers: Trio, database_url: str, database: Database, nats_bus: Bus, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "DATABASE_URL": database_url, "NATS_URL": servers.nats.url, "BLOB_URL": (tmp_path / "blobs").as_uri(),
        "PROBES_PORT": str(port), "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )

    async def ready() -> bool:
        assert process.returncode is None
        return await asyncio.to_thread(status, port, "/readyz") == 200

    try:
        await until(ready)
        job = NewJob("dev", "key", "tides", "k", b"{}")
        await nats_bus.create_stream("tides")
        await accept(database, [job], ticketed=[True])
        await nats_bus.publish_tickets("tides", [job.id])

        async def done() -> object:
            found = await find(database, "dev", job.id)
            return found and found["result"]

        assert await until(done) == {"height": 3, "secret": None}, "what it starts is told no secrets"
        assert await rpc.call(nats_bus, "tides", "measure", "dev", {}) == {"of": "dev", "height": 3}
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    lines = output.decode().splitlines()
    events = [orjson.loads(line)["event"] for line in lines if line.startswith("{")]
    assert lines.index("opened") < lines.index("closed")
    assert events[-1] == "service.stopped"
    assert await database.fetch("SELECT FROM ledger.workers") == []


async def test_bad_settings_end_it_at_once_with_all_their_names() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, cwd=ROOT, env={"TIDES_HEIGHT": "s3cret", "PATH": "/usr/bin:/bin"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await process.communicate()
    assert process.returncode == 2
    for name in ("DATABASE_URL", "NATS_URL", "BLOB_URL", "TIDES_HEIGHT"):
        assert name in told.decode()
    assert "s3cret" not in told.decode()

"""python -m benchmarks.sync.memory: a run by the worker's own process, and how much memory it holds meanwhile.

A server of this machine lists so many records in pages of 5,000. The worker's memory is looked at every half
second; what grows after the first 100,000 records would be a leak. The sandboxed child is not part of it.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import psutil
import uvloop
from pydantic_core import to_json

from benchmarks.sync.writing import SPEC, source_records
from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common import background, bus
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.contracts.services import GATEWAY, SYNC
from libs.common.contracts.sync import RunPayload, SourceChange, SourceSpec
from libs.common.db import Database, connect
from libs.common.ledger import jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from services.gateway.engine.dispatcher import Dispatcher
from services.sync import sources
from services.sync.sealing import HeaderSealer

PAGE = 5_000
SETTLED = 100_000
"""Records after which memory must not grow any more."""
TENANT = "bench"
SECRET = "a secret of the benchmark, which is long enough"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Sample:
    """What the worker held after so many records."""

    records: int
    mb: float


@contextmanager
def listing(number: int) -> Iterator[str]:
    """A server with `number` records; its address."""
    records = source_records(PAGE)

    class Handler(BaseHTTPRequestHandler):
        """Answers a page, which names the next."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """The page whose first record is in the path."""
            begin = int(self.path[1:])
            page = [record | {"id": f"grant-{begin + n}"} for n, record in enumerate(records)]
            following = f"/{begin + PAGE}" if begin + PAGE < number else None
            body = to_json({"records": page, "next": following})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


async def put(database: Database, url: str) -> UUID:
    """The source, whose pages name the next."""
    mapping = SPEC.mapping.model_copy(update={"records": "records"})
    whole = SPEC.model_dump(by_alias=True, exclude={"paging", "mapping", "url"})
    whole |= {"url": f"{url}/0", "paging": {"kind": "json_link", "link": "next"}, "complete": True}
    spec = SourceSpec.model_validate(whole | {"mapping": mapping.model_dump()})
    made = await sources.put(database, TENANT, SourceChange(name="bench", spec=spec), HeaderSealer(SECRET))
    assert made.answer is not None, made.mistakes
    return made.answer.id


async def watched(database: Database, job: NewJob, worker: psutil.Process) -> list[Sample]:
    """Look at the worker until the job has ended."""
    samples = list[Sample]()
    progress = "SELECT coalesce((position #>> '{result,records}')::int, 0) FROM sync.sources"
    while True:
        facts = await jobs.find(database, TENANT, job.id)
        assert facts is not None
        if facts["finished_at"]:
            assert facts["state"] == "succeeded", facts["errors"]
            return samples
        ((records,),) = await database.fetch(progress)
        samples.append(Sample(records, worker.memory_info().rss / 2**20))
        await asyncio.sleep(0.5)


def told(samples: list[Sample]) -> str:
    """The most that was held, and how much it grew after SETTLED records."""
    settled = [sample for sample in samples if sample.records >= SETTLED]
    slope = statistics.linear_regression(
        [sample.records / 100_000 for sample in settled], [sample.mb for sample in settled]
    ).slope
    most = max(sample.mb for sample in samples)
    return f"at most {most:.0f} MB; {slope:+.2f} MB for each 100,000 records after the first {SETTLED:,}"


async def run(servers: Trio, folder: Path, number: int) -> None:
    """All of it."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    await asyncio.to_thread(upgrade, settings)
    environment = os.environ | {
        "DATABASE_URL": servers.postgres.url, "NATS_URL": servers.nats.url, "BLOB_URL": folder.as_uri(),
        "SYNC_SECRET": SECRET, "SYNC_ALLOWED_NETWORKS": "127.0.0.0/8", "SYNC_HOST_GAP_S": "0",
        "SANDBOX_CONFINEMENT": "if-available", "PROBES_PORT": "0", "ARGOSY_RUN_DIR": str(folder),
    }  # fmt: skip
    with listing(number) as url, (folder / "worker.log").open("wb") as log:
        async with (
            connect(settings, "bench-sync", role=SYNC.role) as database,
            connect(settings, "bench", role=GATEWAY.role) as gateway,
            connect(settings, "bench-owner", role=None) as owner,
            bus.connect(BusSettings.model_validate({"nats_url": servers.nats.url}), "bench") as conveyor,
        ):
            source = await put(database, url)
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.sync", env=environment, stdout=log, stderr=log
            )
            try:
                async with background.alongside(
                    background.optional(Dispatcher(gateway, conveyor, [SYNC.name]).run())
                ):
                    for what in ("new", "unchanged"):
                        await owner.fetch("UPDATE sync.sources SET not_before = NULL")
                        payload = RunPayload(source=source).model_dump_json().encode()
                        job, begun = NewJob(TENANT, "bench", SYNC.name, "run", payload), time.perf_counter()
                        await accept(gateway, [job], ticketed=[False])
                        samples = await watched(owner, job, psutil.Process(worker.pid))
                        speed = number / (time.perf_counter() - begun)
                        print(f"{number:,} {what:10}{speed:>8,.0f} records a second; {told(samples)}", flush=True)
            finally:
                worker.terminate()
                await worker.wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        uvloop.run(run(servers, Path(name), arguments.records))


if __name__ == "__main__":
    main()

"""make bench-jobs: no-op jobs through accept, conveyor, one worker process and the ledger on disk.

PostgreSQL runs with fsync on. The peer, in the same run and on the same NATS server, is a bare nats-py loop. It
publishes the same number of messages to a file stream with acknowledgement, then fetches and acks them.
"""

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import uvloop
from nats.js.api import StreamConfig

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.bus import connect as connect_bus
from libs.common.config import BusSettings, DatabaseSettings
from libs.common.db import Database
from libs.common.db import connect as connect_database
from libs.common.ledger.jobs import NewJob
from services.gateway.engine.dispatcher import Dispatcher

QUEUE = "noop"
IN_FLIGHT = 1_000
"""The number of accepts that wait for their commit at any time, as in a busy gateway."""


@asynccontextmanager
async def gateway(servers: Trio) -> AsyncIterator[tuple[Database, Dispatcher]]:
    """Run the accepting part of a gateway in this process, as the database's owner, which may truncate tables."""
    database_settings = DatabaseSettings(database_url=servers.postgres.url)
    bus_settings = BusSettings(nats_url=servers.nats.url)
    await asyncio.to_thread(upgrade, database_settings)
    async with (
        connect_database(database_settings, "bench", role=None) as database,
        connect_bus(bus_settings, "bench") as bus,
    ):
        dispatcher = Dispatcher(database, bus, [QUEUE])
        dispatching = asyncio.create_task(dispatcher.run())
        yield database, dispatcher
        dispatching.cancel()


def start_worker(servers: Trio, folder: Path, profile: str | None) -> subprocess.Popen[bytes]:
    """Start one worker process with concurrency 100."""
    environment = os.environ | {
        "DATABASE_URL": servers.postgres.url,
        "NATS_URL": servers.nats.url,
        "BLOB_URL": f"file://{folder}/blobs",
        "PROBES_PORT": "0",
    }
    command = [sys.executable, "-m", "benchmarks.noop_worker"]
    if profile:
        command = ["py-spy", "record", "-r", "500", "-f", "raw", "-o", profile, "--", *command]
    with (folder / "worker.log").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


async def until_ended(database: Database, jobs: int) -> None:
    """Poll until all jobs have succeeded."""
    while True:
        (row,) = await database.fetch("SELECT count(*) FROM ledger.jobs WHERE state = 'succeeded'")
        if row[0] >= jobs:
            return
        await asyncio.sleep(0.2)


async def accept_all(dispatcher: Dispatcher, jobs: int) -> float:
    """Accept `jobs` jobs, IN_FLIGHT at a time. Returns the seconds it took."""
    begun = time.perf_counter()
    for start in range(0, jobs, IN_FLIGHT):
        wave = range(start, min(jobs, start + IN_FLIGHT))
        await asyncio.gather(*(dispatcher.accept(NewJob("bench", "bench", QUEUE, "noop", b"{}")) for _ in wave))
    return time.perf_counter() - begun


async def fleet_run(
    database: Database, dispatcher: Dispatcher, servers: Trio, folder: Path, jobs: int, profile: str | None
) -> tuple[float, float, str]:
    """Accept all jobs, then start the worker. Returns accepts/s, jobs/s and the last line of the worker's log."""
    await database.fetch("TRUNCATE ledger.jobs")
    accept_s = await accept_all(dispatcher, jobs)
    worker = start_worker(servers, folder, profile)
    while not await database.fetch("SELECT FROM ledger.jobs WHERE started_at IS NOT NULL LIMIT 1"):
        await asyncio.sleep(0.005)
    await until_ended(database, jobs)
    (row,) = await database.fetch(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8, count(*), sum(attempt)"
        " FROM ledger.jobs"
    )
    assert row[1] == row[2] == jobs, f"{row[1]} jobs, {row[2]} attempts"
    worker.send_signal(signal.SIGINT)  # py-spy, around a profiled worker, passes only this one on
    await asyncio.to_thread(worker.wait, 30)
    report = re.search(r"noop_worker .*", (folder / "worker.log").read_text())
    return jobs / accept_s, jobs / row[0], report[0] if report else "the worker did not report"


async def bare_run(servers: Trio, jobs: int) -> tuple[float, float]:
    """Publish with acknowledgement, then fetch and ack, with nats-py alone. Returns publishes/s and messages/s."""
    connection = await nats.connect(servers.nats.url)
    jetstream = connection.jetstream()
    await jetstream.add_stream(StreamConfig(name="BARE", subjects=["bare"]))
    subscription = await jetstream.pull_subscribe("bare", durable="bare")
    begun = time.perf_counter()
    for start in range(0, jobs, IN_FLIGHT):
        wave = range(start, min(jobs, start + IN_FLIGHT))
        await asyncio.gather(*(jetstream.publish("bare", b"0123456789abcdef") for _ in wave))
    publish_s = time.perf_counter() - begun
    begun = time.perf_counter()
    left = jobs
    while left:
        messages = await subscription.fetch(min(100, left), timeout=5)
        for message in messages:
            await message.ack()
        left -= len(messages)
    await connection.flush()
    consume_s = time.perf_counter() - begun
    await jetstream.delete_stream("BARE")
    await connection.close()
    return jobs / publish_s, jobs / consume_s


async def main(jobs: int, rounds: int, profile: str | None) -> None:
    """Run both in turn, `rounds` times, and print medians."""
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        accepts, processed, published, consumed = [], [], [], []
        async with gateway(servers) as (database, dispatcher):
            for _ in range(rounds):
                accept, process, last = await fleet_run(database, dispatcher, servers, Path(name), jobs, profile)
                publish, consume = await bare_run(servers, jobs)
                accepts.append(accept)
                processed.append(process)
                published.append(publish)
                consumed.append(consume)
                peak = re.search(r"peak_mb=(\S+) cpu_s=(\S+)", last)
                memory = (
                    f"worker peak {peak[1]} MB, {float(peak[2]) / jobs * 1e6:.0f} µs CPU/job" if peak else last
                )
                print(
                    f"argosy: {accept:8,.0f} accepts/s {process:8,.0f} jobs/s; {memory}   "
                    f"bare nats-py: {publish:8,.0f} publishes/s {consume:8,.0f} messages/s",
                    flush=True,
                )
        print(
            f"medians of {rounds}: {statistics.median(accepts):,.0f} accepts/s,"
            f" {statistics.median(processed):,.0f} jobs/s; jobs ÷ bare messages ="
            f" {statistics.median(p / c for p, c in zip(processed, consumed, strict=True)):.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", help="write py-spy's raw stacks of the worker to this file")
    arguments = parser.parse_args()
    uvloop.run(main(arguments.jobs, arguments.rounds, arguments.profile))

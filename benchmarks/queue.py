"""make bench-queue: how long jobs wait, and what a long queue costs. PostgreSQL runs with fsync on.

idle       time from accept to the start of the handler, at 50 jobs per second
recovery   time from SIGKILL or SIGTERM of a worker until the last of its jobs runs on another worker
fairness   wait of a tenant's single job behind another tenant's 100,000
priority   longest wait of low-priority jobs under a constant surplus of high ones; head starts divided by HASTE
million    rate of accepting and time of picking with 1,000,000 jobs waiting, compared to 10,000
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import uvloop

from benchmarks.jobs import QUEUE, accept_all, gateway
from deploy.local.test_servers import Trio, trio
from libs.common.db import Database
from libs.common.ledger import jobs, picking, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, Priority
from services.gateway.engine.dispatcher import WINDOW_S, Dispatcher

FILLED_WITHIN_S = 600.0
HASTE = 60.0
Bench = Callable[[Trio, Path, Database, Dispatcher], Awaitable[None]]


def worker(servers: Trio, folder: Path, *, slots: int = 100, grace_s: float = 20) -> subprocess.Popen[bytes]:
    """Start one worker process."""
    environment = os.environ | {
        "DATABASE_URL": servers.postgres.url,
        "NATS_URL": servers.nats.url,
        "BLOB_URL": f"file://{folder}/blobs",
        "PROBES_PORT": "0",
        "NOOP_CONCURRENCY": str(slots),
        "SHUTDOWN_GRACE_S": str(grace_s),
    }
    with (folder / "worker.log").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.timed_worker"], env=environment, stdout=output, stderr=output
        )


def job(*, sleep_s: float = 0.0, tenant: str = "bench", priority: Priority = Priority.NORMAL) -> NewJob:
    """Make a job, to be accepted now."""
    payload = orjson.dumps({"sent_at": time.time(), "sleep_s": sleep_s})
    return NewJob(tenant, "bench", QUEUE, "noop", payload, priority=priority)


async def until(database: Database, condition: str, *values: object) -> None:
    """Poll until no job of the queue meets `condition`."""
    while await database.fetch(f"SELECT FROM ledger.jobs WHERE {condition} LIMIT 1", *values):
        await asyncio.sleep(0.02)


async def until_workers(database: Database, number: int) -> None:
    """Poll until `number` workers are registered."""
    while (await database.fetch("SELECT count(*) FROM ledger.workers"))[0][0] != number:
        await asyncio.sleep(0.02)


async def idle(servers: Trio, folder: Path, database: Database, dispatcher: Dispatcher) -> None:
    """Accept one job every 20 ms, for 20 seconds."""
    running = worker(servers, folder)
    await until_workers(database, 1)
    for _ in range(1000):
        await dispatcher.accept(job())
        await asyncio.sleep(0.02)
    await until(database, "finished_at IS NULL")
    running.terminate()
    await asyncio.to_thread(running.wait)
    found = re.findall(r"timed_worker .*", (folder / "worker.log").read_text())
    print(f"idle: accept → handler start: {found[-1].removeprefix('timed_worker ')}", flush=True)


async def recovery(servers: Trio, folder: Path, database: Database, dispatcher: Dispatcher) -> None:
    """Kill a worker with 50 running jobs, or stop it without a grace period. Another worker has free slots."""
    for number, name in ((signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM")):
        victim = worker(servers, folder, slots=50, grace_s=0)
        await until_workers(database, 1)
        await asyncio.gather(*(dispatcher.accept(job(sleep_s=60)) for _ in range(50)))
        await until(database, "finished_at IS NULL AND state <> 'running'")
        other = worker(servers, folder, slots=100, grace_s=0)
        await until_workers(database, 2)
        victim.send_signal(number)
        begun = time.perf_counter()
        await until(database, "finished_at IS NULL AND attempt < 2")
        took_s = time.perf_counter() - begun
        print(f"recovery: {name} of a worker with 50 running jobs: all run again after {took_s:.2f} s", flush=True)
        other.kill()
        await asyncio.to_thread(victim.wait)
        await asyncio.to_thread(other.wait)
        await database.fetch("TRUNCATE ledger.jobs, ledger.workers")


async def fairness(servers: Trio, folder: Path, database: Database, dispatcher: Dispatcher) -> None:
    """Accept the second tenant's job when the first tenant has been served for three seconds."""
    for _ in range(100):
        await accept(database, [job(tenant="large") for _ in range(1000)], ticketed=[False] * 1000)
    running = worker(servers, folder)
    await until_workers(database, 1)
    await asyncio.sleep(3)
    late = job(tenant="small")
    await dispatcher.accept(late)
    await until(database, "id = $1 AND started_at IS NULL", late.id)
    (row,) = await database.fetch(
        "SELECT extract(epoch FROM started_at - created_at)::float8,"
        " (SELECT count(*) FROM ledger.jobs WHERE started_at IS NULL) FROM ledger.jobs WHERE id = $1",
        late.id,
    )
    print(
        f"fairness: one job behind another tenant's 100,000: {row[0]:.2f} s, {row[0] / WINDOW_S:.2f} windows;"
        f" {row[1]:,} of the other's still waited then",
        flush=True,
    )
    running.terminate()
    await asyncio.to_thread(running.wait)


async def priority(servers: Trio, folder: Path, database: Database, dispatcher: Dispatcher) -> None:
    """Accept twice as many jobs as can be done, for a minute: one in 40 has low priority, the others high."""
    usual = dict(jobs.HEAD_START_S)
    jobs.HEAD_START_S.update({level: seconds / HASTE for level, seconds in usual.items()})
    lead_s = jobs.HEAD_START_S[Priority.HIGH] - jobs.HEAD_START_S[Priority.LOW]
    running = worker(servers, folder, slots=20)
    await until_workers(database, 1)
    begun = time.perf_counter()
    while time.perf_counter() - begun < 60:
        for number in range(40):
            await dispatcher.accept(job(sleep_s=0.1, priority=Priority.LOW if number == 7 else Priority.HIGH))
        await asyncio.sleep(0.1)
    (row,) = await database.fetch(
        "SELECT max(started_at - created_at) FILTER (WHERE priority = 'low' AND started_at IS NOT NULL),"
        " max(started_at - created_at) FILTER (WHERE priority = 'high' AND started_at IS NOT NULL),"
        " count(*) FILTER (WHERE priority = 'low' AND started_at IS NOT NULL),"
        " max(now() - created_at) FILTER (WHERE priority = 'low' AND started_at IS NULL) FROM ledger.jobs"
    )
    longest = max(moment.total_seconds() for moment in (row[0], row[3]) if moment)
    print(
        f"priority: head start of high over low {lead_s:.0f} s; longest wait of a low {longest:.1f} s,"
        f" of a high {row[1].total_seconds():.1f} s; {row[2]} low ones ran",
        flush=True,
    )
    jobs.HEAD_START_S.update(usual)
    running.terminate()
    await asyncio.to_thread(running.wait)


async def million(_servers: Trio, _folder: Path, database: Database, dispatcher: Dispatcher) -> None:
    """Accept 20,000 jobs and pick 1,000, while each of 1,000 tenants has 10, then 1,000 jobs waiting."""
    await accept_all(dispatcher, 5_000)
    figures = {}
    for waiting in (10_000, 1_000_000):
        await database.fetch("TRUNCATE ledger.jobs")
        await _fill(database, waiting)
        accepts = sorted([20_000 / await accept_all(dispatcher, 20_000) for _ in range(5)])[2]
        figures[waiting] = accepts, await _pick_ms(database)
    (few, few_ms), (many, many_ms) = figures[10_000], figures[1_000_000]
    print(
        f"million: accept {few:,.0f}/s with 10,000 waiting, {many:,.0f}/s with 1,000,000: {many / few:.2f};"
        f" pick of 1,000 from 1,000 tenants: {few_ms:.1f} ms, {many_ms:.1f} ms"
    )
    plan = await database.fetch(
        f"EXPLAIN (COSTS OFF) {picking.PICK}", QUEUE, ["tenant-7", "tenant-8"], [50, 50], 9
    )
    print("the plan of a pick:\n  " + "\n  ".join(row[0] for row in plan))


async def _fill(database: Database, number: int) -> None:
    await database.fetch(
        """INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,
                                    max_attempts, timeout_s, due_at)
           SELECT uuidv7(), 'tenant-' || n % 1000, 'bench', $1, 'noop', 'queued', 'normal',
                  now() - n * interval '1 millisecond', '{}', '[]', 5, 60, now()
           FROM generate_series(1, $2::int) n""",
        QUEUE,
        number,
        timeout_s=FILLED_WITHIN_S,
    )
    await database.fetch("VACUUM ANALYZE ledger.jobs", timeout_s=FILLED_WITHIN_S)
    await database.fetch(
        "CHECKPOINT", timeout_s=FILLED_WITHIN_S
    )  # what the filling left to write is not the accepts' to pay


async def _pick_ms(database: Database) -> float:
    demand = await requeueing.demand(database, QUEUE)
    times, last = [], ""
    for _ in range(9):
        begun = time.perf_counter()
        ids, last = await picking.pick(database, QUEUE, 1000, demand, after=last)
        times.append((time.perf_counter() - begun) * 1000)
        assert len(ids) == 1000
    return sorted(times)[4]


BENCHES: dict[str, Bench] = {bench.__name__: bench for bench in (idle, recovery, fairness, priority, million)}


async def main(names: list[str]) -> None:
    """Run the named benchmarks, each on servers of its own."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder, trio(Path(folder)) as servers:
            async with gateway(servers) as (database, dispatcher):
                await BENCHES[name](servers, Path(folder), database, dispatcher)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(BENCHES))
    uvloop.run(main(parser.parse_args().names))

"""make bench-analytics: events over HTTP, through gateway, ledger and worker, each beside its limit.

One gateway process, one worker process with two slots, fsync on. The limit of batches is counting them in one
process, that of single events is a durable POST of a small job; those requests come from wrk.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop

from benchmarks.analytics import BATCH, TENANT, counted, describe_types, generated
from benchmarks.gateway.__main__ import LIMITS, POST, Row, key_for, measure, started
from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import ANALYTICS
from libs.common.db import connect
from services.analytics import partitions

CONNECTIONS = 1_000
SINGLE = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
math.randomseed(os.time())
local run, number = math.random(1e9), 0
local at = os.date("!%Y-%m-%dT%H:%M:%SZ")
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, string.format(
    '{"events": [{"id": "%d-%d", "name": "view", "time": "%s", "subject": "u%d", "properties": {"page": "%d"}}]}',
    run, number, at, number % 50000, number % 500))
end
"""


@contextmanager
def worker(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run a worker while the block runs."""
    with (folder / "worker.log").open("ab") as log:
        command = [sys.executable, "-m", "services.analytics"]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


async def in_process(settings: DatabaseSettings, batches: list[list[dict[str, Any]]]) -> float:
    """Events a second that one process counts, without gateway and ledger."""
    async with connect(settings, "bench", role=ANALYTICS.role) as database:
        await partitions.keep(database, 90)
        for tenant in (TENANT, "dev"):
            await describe_types(database, tenant)
        begun = time.perf_counter()
        await counted(database, batches)
        return BATCH * len(batches) / (time.perf_counter() - begun)


async def total(client: httpx.AsyncClient) -> int:
    """How many events of the tenant have been counted."""
    now = time.time()
    range_ = {"from": moment(now - 172_800), "to": moment(now + 7_200), "by": "total"}
    numbers = []
    for name in ("view", "click", "apply"):
        answer = await client.post("/v1/analytics/query", json=range_ | {"event": name})
        numbers.append(answer.raise_for_status().json()["series"][0]["points"][0][1])
    return sum(numbers)


def moment(seconds: float) -> str:
    """As JSON has it."""
    return time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(seconds))


async def until_answering(client: httpx.AsyncClient) -> None:
    """Wait until the worker is there."""
    while True:
        try:
            await total(client)
        except httpx.HTTPStatusError:
            await asyncio.sleep(0.1)
        else:
            return


async def over_http(client: httpx.AsyncClient, batches: list[list[dict[str, Any]]]) -> float:
    """Events a second from the first request until all are counted, four requests at a time."""
    different = len({(event["id"], event["time"][:10]) for batch in batches for event in batch})
    before, waiting = await total(client), iter(batches)
    begun = time.perf_counter()

    async def send() -> None:
        for batch in waiting:
            (await client.post("/v1/events", json={"events": batch})).raise_for_status()

    await asyncio.gather(*(send() for _ in range(4)))
    while await total(client) < before + different:
        await asyncio.sleep(0.02)
    return BATCH * len(batches) / (time.perf_counter() - begun)


async def seconds_until_visible(client: httpx.AsyncClient, times: int) -> list[float]:
    """From the answer to a request with one event, until a query counts it."""
    seconds = []
    for number in range(times):
        before = await total(client)
        event = {
            "id": f"seen-{number}",
            "name": "view",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        (await client.post("/v1/events", json={"events": [event]})).raise_for_status()
        accepted = time.perf_counter()
        while await total(client) == before:
            await asyncio.sleep(0.005)
        seconds.append(time.perf_counter() - accepted)
    return seconds


async def batches_and_delay(url: str, key: str, limit: float, batches: int, times: int) -> None:
    """Print the rows of batches and of the delay."""
    events = generated(batches * BATCH)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        await until_answering(client)
        per_s = await over_http(client, [events[at : at + BATCH] for at in range(0, len(events), BATCH)])
        print(f"in one process                 {limit:9,.0f} events/s (the limit)")
        print(f"batches of 1,000 over HTTP     {per_s:9,.0f} events/s = {per_s / limit:.2f} of it (goal 0.35)")
        seconds = await seconds_until_visible(client, times)
        print(f"from accept to visible, p95    {statistics.quantiles(seconds, n=20)[-1]:9.2f} s (goal 1)")


def singles(url: str, key: str, rounds: int, seconds: int, folder: Path) -> None:
    """Print the row of single events."""
    headers = (f"Authorization: Bearer {key}",)
    small_job = Row("durable POST", f"{url}/work", POST, headers)
    event = Row("an event", f"{url}/v1/events", SINGLE, headers)
    found: dict[str, list[float]] = {small_job.name: [], event.name: []}
    for _ in range(rounds):
        for row in (small_job, event):
            per_s, _, _, errors = measure(row, CONNECTIONS, seconds, folder)
            found[row.name].append(per_s)
            if errors:
                print(f"{row.name}: {errors} errors")
    jobs, events = (statistics.median(found[row.name]) for row in (small_job, event))
    print(f"durable POST of a small job    {jobs:9,.0f} requests/s (the limit)")
    print(f"POST of one event              {events:9,.0f} requests/s = {events / jobs:.2f} of it (goal 0.9)")


def main(servers: Trio, folder: Path, arguments: argparse.Namespace) -> None:
    """All of it."""
    settings = DatabaseSettings.model_validate({"database_url": servers.postgres.url})
    upgrade(settings)
    events = generated(arguments.batches * BATCH)
    limit = uvloop.run(in_process(settings, [events[at : at + BATCH] for at in range(0, len(events), BATCH)]))
    key = uvloop.run(key_for(settings))
    environment = {
        "DATABASE_URL": servers.postgres.url,
        "REDIS_URL": servers.redis.url,
        "NATS_URL": servers.nats.url,
        "BLOB_URL": f"file://{folder}/blobs",
        "PROBES_PORT": "0",
        "ANALYTICS_SECRET": "a secret of the benchmark, which is long enough",
        "LIMITS": f"{LIMITS}, events=900000/s, search=900000/s",
        "LIMITS_BUDGET_MS": "1000",
    }
    with ExitStack() as stack:
        url = stack.enter_context(
            started([sys.executable, "-m", "benchmarks.gateway.served"], environment, folder)
        )
        stack.enter_context(worker(environment, folder))
        uvloop.run(batches_and_delay(url, key, limit, arguments.batches, arguments.times))
        singles(url, key, arguments.rounds, arguments.seconds, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as three:
        main(three, Path(name), parser.parse_args())

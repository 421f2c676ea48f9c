"""make bench-analytics: counting, queries and reports, each beside its limit in the same run.

PostgreSQL runs with fsync on; one connection; batches of 1,000. The limit of counting is the plain insert of the
same rows. Pages follow Zipf's law, there are 50,000 subjects, 2 % of the events are repeated and 5 % are late.
"""

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from deploy.local.test_servers import Trio, trio
from deploy.migrations.__main__ import upgrade
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings, DatabaseSettings
from libs.common.contracts.analytics import AnalyticsPayload, EventTypeChange, Query
from libs.common.contracts.services import ANALYTICS
from libs.common.db import Database, connect, fetch_within
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Done, Job
from services.analytics import counting, event_types, incoming, partitions, queries, rejected, reports
from services.analytics.counting import SubjectHashes
from services.analytics.incoming import Event, Refused

TENANT = "bench"
BATCH = 1_000
SUBJECTS = 50_000
PAGES = [f"/page/{number}" for number in range(500)]
WEIGHTS = list(accumulate(1 / (rank + 1) for rank in range(len(PAGES))))
HASHES = SubjectHashes("a secret of the benchmark, which is long enough")
PLAIN = f"""
INSERT INTO analytics.events (tenant, id, day, name, at, subject, properties, received_at)
SELECT 'plain', id, day, name, at, subject, properties::jsonb, $1 FROM {counting.EVENTS.unnested("new", first=2)}
ON CONFLICT DO NOTHING
"""  # noqa: S608 - made of constants
FILL_ROLLUPS = """
INSERT INTO analytics.rollups (tenant, name, dim, hour, value, count, sum)
SELECT 'filled', 'view', dim, hour, value, events, 0 FROM (
  SELECT '' AS dim, '' AS value, 5556 AS events
  UNION ALL SELECT 'page', '/page/' || n, 100 FROM generate_series(1, 50) AS n) d,
generate_series(date_trunc('hour', now()) - interval '90 days', now(), '1 hour') AS hour
"""
FILL_EVENTS = """
INSERT INTO analytics.events (tenant, id, day, name, at, subject, properties, received_at)
SELECT 'reported', 'e' || n, (at AT TIME ZONE 'UTC')::date, (ARRAY['view', 'click', 'apply'])[1 + n % 3], at,
  'u' || (n::bigint * 7919) % 50000, '{}', now()
FROM (
  SELECT n, now() - (n * 7.0 % 2500000) * interval '1 second' AS at FROM generate_series($1::int, $2::int) AS n) e
"""


def generated(number: int) -> list[dict[str, Any]]:
    """Events as callers send them."""
    chance = random.Random(1)  # noqa: S311 - a benchmark's
    now = datetime.now(UTC)
    events = list[dict[str, Any]]()
    for index in range(number):
        if index and chance.random() < 0.02:
            events.append(chance.choice(events[-1_000:]))
            continue
        late_s = chance.uniform(0, 86_400) if chance.random() < 0.05 else chance.uniform(0, 60)
        events.append(
            {
                "id": f"{index:08x}",
                "name": chance.choice(("view", "click", "apply")),
                "time": (now - timedelta(seconds=late_s)).isoformat(),
                "subject": f"u{chance.randrange(SUBJECTS)}",
                "properties": {"page": chance.choices(PAGES, cum_weights=WEIGHTS)[0], "amount": index % 97},
            }
        )
    return events


async def plain(database: Database, batches: Sequence[Sequence[Event]]) -> None:
    """The limit: nothing but the rows."""
    for batch in batches:
        async with database.begin() as connection:
            in_order = sorted(batch, key=lambda event: event.key)
            await fetch_within(connection, PLAIN, datetime.now(UTC), *counting.EVENTS.arrays(in_order))


async def counted(database: Database, batches: Sequence[Sequence[Any]]) -> None:
    """What a job does, from the events as they were sent."""
    for batch in batches:
        now = datetime.now(UTC)
        read: list[Event | Refused] = [incoming.read(one, now) for one in batch]
        types = await event_types.known(database, TENANT, counting.names_of(read))
        checked = counting.check(read, types)
        async with database.begin() as connection, database.as_tenant(connection, TENANT):
            outcome = await counting.count(connection, TENANT, read, checked, now, HASHES)
            await rejected.keep(connection, TENANT, new_id(), len(read), outcome.refused)


async def describe_types(database: Database, tenant: str) -> None:
    """Let the events be broken down by page, and their amounts be added up."""
    for name in ("view", "click", "apply"):
        change = EventTypeChange(name=name, dimensions=("page",), value="amount")
        await event_types.put(database, tenant, change)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """How many seconds it takes."""
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def counting_bench(database: Database, number: int) -> None:
    """Events a second, beside the plain insert."""
    await describe_types(database, TENANT)
    events = generated(number)
    batches = [events[begin : begin + BATCH] for begin in range(0, number, BATCH)]
    read = [
        [one for sent in batch if isinstance(one := incoming.read(sent, datetime.now(UTC)), Event)]
        for batch in batches
    ]
    plain_s = await timed(lambda: plain(database, read))
    counted_s = await timed(lambda: counted(database, batches))
    repeated_s = await timed(lambda: counted(database, batches))
    print(f"plain insert of the same rows  {number / plain_s:9,.0f} events/s (the limit)")
    share = plain_s / counted_s
    print(f"counted exactly once           {number / counted_s:9,.0f} events/s = {share:.2f} of it (goal 0.6)")
    print(f"all duplicates                 {number / repeated_s:9,.0f} events/s")


async def query_bench(database: Database, repeat: int) -> None:
    """Milliseconds of queries over 90 days of 12 million events."""
    await database.fetch(FILL_ROLLUPS)
    end = datetime.now(UTC)
    range_ = {"from": end - timedelta(days=90), "to": end, "event": "view"}
    for what, more in {
        "series by day": {},
        "series by day, in Berlin": {"time_zone": "Europe/Berlin"},
        "breakdown by 50 pages": {"breakdown": "page"},
    }.items():
        query = Query.model_validate(range_ | more)
        seconds = list[float]()
        for _ in range(repeat):
            begun = time.perf_counter()
            await queries.answer(database, "filled", query)
            seconds.append(time.perf_counter() - begun)
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(f"{what:30} {1000 * p95:9.1f} ms p95 (goal 50)")


async def vacuumed(servers: Trio) -> None:
    """Do now what autovacuum does a minute after so many rows were inserted."""
    connection = await asyncpg.connect(servers.postgres.url)
    try:
        await connection.execute("VACUUM ANALYZE analytics.events")
    finally:
        await connection.close()


async def report_bench(database: Database, blobs: Blobs, servers: Trio, millions: int) -> None:
    """Seconds of reports over some million events."""
    for begin in range(1, millions * 1_000_000, 100_000):
        await database.fetch(FILL_EVENTS, begin, begin + 99_999, timeout_s=60)
    await database.fetch(
        "INSERT INTO analytics.rollups (tenant, name, dim, hour, value, count, sum)"
        " SELECT 'reported', name, '', date_trunc('hour', min(at)), '', count(*), 0 FROM analytics.events"
        " WHERE tenant = 'reported' GROUP BY name ON CONFLICT DO NOTHING",
        timeout_s=60,
    )
    await vacuumed(servers)
    end = datetime.now(UTC)
    range_ = {"from": end - timedelta(days=30), "to": end}
    for request in (
        {"report": "funnel", "steps": ["view", "click", "apply"], "within_s": 604_800},
        {"report": "retention", "start": "view", "back": "apply"},
    ):
        payload = AnalyticsPayload.model_validate({"kind": "report", "request": range_ | request})
        job = Job(new_id(), 1, "reported", "report", payload, lambda _progress: None)

        async def make(job: Job[AnalyticsPayload] = job) -> Done:
            return await reports.report(job, job.payload.root, database, blobs)  # type: ignore[arg-type]

        seconds = min([await timed(make) for _ in range(3)])
        print(f"{request['report']:30} {seconds / millions:9.2f} s a million events (goal 1)")


async def run(servers: Trio, folder: Path, events: int, repeat: int, millions: int) -> None:
    """All of it."""
    settings = DatabaseSettings(database_url=servers.postgres.url)
    await asyncio.to_thread(upgrade, settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(connect(settings, "bench", role=ANALYTICS.role))
        await partitions.keep(database, 90)
        await counting_bench(database, events)
        await query_bench(database, repeat)
        blobs = Blobs(BlobSettings.model_validate({"blob_url": (folder / "blobs").as_uri()}))
        await report_bench(database, blobs, servers, millions)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"memory of this process         {peak_mb:9.0f} MB (goal 150 for a worker; here are all generated events)"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--millions", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, trio(Path(name)) as servers:
        uvloop.run(run(servers, Path(name), arguments.events, arguments.queries, arguments.millions))


if __name__ == "__main__":
    main()

"""Argosy's servers, and what its ledger says of a run.

The others' jobs are counted by the lines they leave in a file. A worker that is killed between a job's line
and its acknowledgement makes them leave it twice, and Argosy's too. What Argosy offers beyond that is an
effect inside the job's own transaction: it is there once if the job has ended, and else not at all. So its
effects are counted in a table that the handler writes, and the lines are shown beside them as `runs`.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local.test_servers import trio

Environment = Mapping[str, str]

_ENDED = "SELECT count(*) FROM ledger.jobs WHERE state = 'succeeded'"
_SPAN = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8, sum(attempt) FROM ledger.jobs
"""


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """Run the three servers while the block runs; the variables that a service wants."""
    with trio(folder) as servers:
        yield {
            "DATABASE_URL": servers.postgres.url,
            "NATS_URL": servers.nats.url,
            "BLOB_URL": f"file://{folder}/blobs",
            "PROBES_PORT": "0",
        }


def span(environment: Environment) -> float:
    """Seconds from the first claim to the last end on record: a little more than the handlers see."""
    jobs = int(environment["BENCH_JOBS"])
    while _ask(environment, _ENDED)[0][0] < jobs:
        time.sleep(0.05)
    seconds, attempts = _ask(environment, _SPAN)[0]
    assert attempts == jobs, f"{attempts} attempts at {jobs} jobs"
    return float(seconds)


def effects(environment: Environment) -> list[str]:
    """The jobs whose effects have been committed, once for each time."""
    return [str(row[0]) for row in _ask(environment, "SELECT job_id FROM bench_effects")]


def _ask(environment: Environment, query: str) -> list[Any]:
    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(environment["DATABASE_URL"])
        try:
            rows: list[Any] = await connection.fetch(query)
            return rows
        finally:
            await connection.close()

    return asyncio.run(fetch())

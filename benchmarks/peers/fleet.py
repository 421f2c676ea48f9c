"""Argosy's servers, and the results of a run read from its ledger.

The jobs of the others are counted by the lines that they write to a file. If a worker is killed between the line
and the acknowledgement of a job, the line is written twice; this holds for Argosy too. But Argosy also offers
effects in the transaction that ends the job: an effect exists once if the job has ended, and else not at all. So
Argosy's effects are counted in a table that the handler writes. The lines are shown as `runs`.
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
    """Run the three servers while the block runs. Yields the environment variables for a service."""
    with trio(folder) as servers:
        yield {
            "DATABASE_URL": servers.postgres.url,
            "NATS_URL": servers.nats.url,
            "BLOB_URL": f"file://{folder}/blobs",
            "PROBES_PORT": "0",
        }


def span(environment: Environment) -> float:
    """Return the seconds from the first claim to the last recorded end, a little more than handlers measure."""
    jobs = int(environment["BENCH_JOBS"])
    while _ask(environment, _ENDED)[0][0] < jobs:
        time.sleep(0.05)
    seconds, attempts = _ask(environment, _SPAN)[0]
    assert attempts == jobs, f"{attempts} attempts at {jobs} jobs"
    return float(seconds)


def effects(environment: Environment) -> list[str]:
    """Return the ids of the jobs with committed effects, once per effect."""
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

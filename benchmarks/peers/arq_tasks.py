"""arq on Redis: coroutines, and a worker that polls.

Tuned: uvloop; results are neither kept nor logged; the worker polls every 10 ms, and for more ids. Polling is
tuned for the recovery test too: with arq's default of half a second, its 20 jobs of 20 ms would hardly ever be
running when the worker is killed.
"""

import asyncio
from typing import Any

import uvloop
from arq.connections import RedisSettings, create_pool
from arq.worker import run_worker

from benchmarks.peers import job

REDIS = RedisSettings.from_dsn(job.URL)
TUNING: dict[str, Any] = {"keep_result": 0, "log_results": False} if job.TUNED else {}


async def noop(_context: dict[str, Any], _number: int) -> None:
    """Do nothing."""
    job.noop()


async def effect(_context: dict[str, Any], number: int) -> None:
    """Write a line."""
    await job.effect_async(number)


class WorkerSettings:
    """The settings that arq's command line reads."""

    functions = (noop, effect)
    redis_settings = REDIS
    max_jobs = job.CONCURRENCY
    poll_delay = 0.01
    queue_read_limit = 2_000


async def enqueue() -> None:
    """Call `enqueue_job` many times concurrently. arq has no bulk call."""
    pool = await create_pool(REDIS)
    await job.enqueue_together(lambda number: pool.enqueue_job(job.TASK, number))
    await pool.aclose()


def produce() -> None:
    """Enqueue all jobs."""
    uvloop.run(enqueue())


def work() -> None:
    """Run the worker."""
    asyncio.set_event_loop(uvloop.new_event_loop())
    run_worker(WorkerSettings, **TUNING)


if __name__ == "__main__":
    job.run(produce, work)

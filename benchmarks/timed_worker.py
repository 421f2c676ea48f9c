"""A worker whose jobs record how long they waited, then sleep. Used by `benchmarks.queue`."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from benchmarks.noop_worker import Settings
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform, Service, main

WAITS_MS: list[float] = []


class Timed(BaseModel):
    """The payload. `sent_at`: time.time() just before accept."""

    sent_at: float
    sleep_s: float = 0.0


@asynccontextmanager
async def resources(_settings: Settings, _platform: Platform) -> AsyncIterator[None]:
    """Print percentiles of the waits in ms at the end, without the first 20 jobs."""
    yield
    if len(WAITS_MS) > 100:
        cuts = statistics.quantiles(WAITS_MS[20:], n=100)
        print(
            f"timed_worker p50_ms={cuts[49]:.2f} p99_ms={cuts[98]:.2f} max_ms={max(WAITS_MS[20:]):.2f}", flush=True
        )


async def handle(job: Job[Timed], _deps: None) -> Done:
    """Record the wait, then sleep."""
    WAITS_MS.append((time.time() - job.payload.sent_at) * 1000)
    if job.payload.sleep_s:
        await asyncio.sleep(job.payload.sleep_s)
    return Done()


if __name__ == "__main__":
    main(Service("noop", Settings, Timed, resources, handle))

"""A worker whose jobs do nothing, to measure the cost of the runtime itself."""

import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from libs.common.config import WorkerSettings
from libs.common.worker.job import Done, Job
from libs.common.worker.service import Platform, Service, main

DONE = Done({})


class Settings(WorkerSettings):
    """Settings of the worker. NOOP_CONCURRENCY is the number of slots."""

    noop_concurrency: int = 100

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self.noop_concurrency


class Nothing(BaseModel):
    """An empty payload."""


@asynccontextmanager
async def resources(_settings: Settings, _platform: Platform) -> AsyncIterator[None]:
    """Print at the end the peak memory in MB, and the CPU seconds since the start of the worker."""
    begun = sum(os.times()[:2])
    yield
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"noop_worker peak_mb={peak_mb:.1f} cpu_s={sum(os.times()[:2]) - begun:.2f}", flush=True)


async def handle(_job: Job[Nothing], _deps: None) -> Done:
    """Do nothing."""
    return DONE


if __name__ == "__main__":
    main(Service("noop", Settings, Nothing, resources, handle))

"""Taskiq on NATS JetStream: a file stream, with messages acknowledged when the job is done.

Tuned: the pull broker with 100 messages per fetch, 200 prefetched messages, no parsing of arguments, uvloop.
"""

import os
import sys

import uvloop
from taskiq_nats import PullBasedJetStreamBroker

from benchmarks.peers import job

broker = PullBasedJetStreamBroker(job.URL, **({"pull_consume_batch": 100} if job.TUNED else {}))
TUNING = ("--log-level=WARNING", "--no-parse", "--max-prefetch=200") if job.TUNED else ()


@broker.task("noop")
async def noop(_number: int) -> None:
    """Do nothing."""
    job.noop()


@broker.task("effect")
async def effect(number: int) -> None:
    """Write a line."""
    await job.effect_async(number)


async def enqueue() -> None:
    """Call `kiq` many times concurrently. Taskiq has no bulk call."""
    task = {"noop": noop, "effect": effect}[job.TASK]
    await broker.startup()
    await job.enqueue_together(task.kiq)
    await broker.shutdown()


def produce() -> None:
    """Enqueue all jobs."""
    uvloop.run(enqueue())


def work() -> None:
    """Replace this process by Taskiq's worker, with one process."""
    options = ("--workers=1", f"--max-async-tasks={job.CONCURRENCY}", *TUNING)
    module = "benchmarks.peers.taskiq_tasks:broker"
    os.execv(sys.executable, [sys.executable, "-m", "taskiq", "worker", module, *options])  # noqa: S606


if __name__ == "__main__":
    job.run(produce, work)

"""Dramatiq on Redis: one worker process of many threads.

Tuned: ten times the prefetch.
"""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import job

dramatiq.set_broker(RedisBroker(url=job.URL))
TUNING = {"dramatiq_queue_prefetch": str(20 * job.CONCURRENCY)} if job.TUNED else {}


@dramatiq.actor
def noop(_number: int) -> None:
    """Do nothing."""
    job.noop()


@dramatiq.actor
def effect(number: int) -> None:
    """Write a line."""
    job.effect(number)


def produce() -> None:
    """Call `send` one after another. Dramatiq has no bulk call."""
    job.enqueue_each({"noop": noop, "effect": effect}[job.TASK].send)


def work() -> None:
    """Replace this process by Dramatiq's worker, with one process."""
    options = ("--processes=1", f"--threads={job.CONCURRENCY}")
    command = [sys.executable, "-m", "dramatiq", "benchmarks.peers.dramatiq_tasks", *options]
    os.execve(sys.executable, command, os.environ | TUNING)  # noqa: S606


if __name__ == "__main__":
    job.run(produce, work)

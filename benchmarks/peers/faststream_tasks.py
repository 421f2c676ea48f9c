"""FastStream on NATS JetStream: a file stream, with messages acknowledged when the handler is done.

Tuned: 100 messages per fetch, no log line per message, uvloop.
"""

import os
import sys
from typing import Any

import uvloop
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub

from benchmarks.peers import job

STREAM = JStream("bench", subjects=["noop", "effect"])
TUNING: dict[str, Any] = {"logger": None} if job.TUNED else {}
broker = NatsBroker(job.URL, **TUNING)


async def noop(_number: int) -> None:
    """Do nothing."""
    job.noop()


async def effect(number: int) -> None:
    """Write a line."""
    await job.effect_async(number)


def app() -> FastStream:
    """Create the app for FastStream's command line. Not a global: a producer with subscribers consumes, too."""
    pull = PullSub(batch_size=100) if job.TUNED else PullSub()
    subscriber = broker.subscriber(
        job.TASK, stream=STREAM, durable="bench", pull_sub=pull, max_workers=job.CONCURRENCY
    )
    subscriber({"noop": noop, "effect": effect}[job.TASK])
    return FastStream(broker, **TUNING)


async def enqueue() -> None:
    """Call `publish` many times concurrently, each acknowledged by the stream. FastStream has no bulk call."""
    publisher = broker.publisher(job.TASK, stream=STREAM)
    await broker.start()
    await job.enqueue_together(publisher.publish)
    await broker.stop()


def produce() -> None:
    """Enqueue all jobs."""
    uvloop.run(enqueue())


def work() -> None:
    """Replace this process by FastStream's worker."""
    command = [sys.executable, "-m", "faststream", "run", "benchmarks.peers.faststream_tasks:app", "--factory"]
    os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    job.run(produce, work)

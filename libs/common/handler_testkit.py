"""For tests of services, without mocks: run a handler inline, list enqueued jobs, run all jobs of a queue.

ran = await run_inline(handle, payload, deps)              runs only the handler: ran.done, ran.progress
jobs = await enqueued(database, queue="ocr")               the unfinished jobs in the ledger
await drain(database, bus, "ocr", Payload, handle, deps)   runs every waiting job to its end, without tickets
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel

from libs.common.backoff import Backoff
from libs.common.bus import Bus
from libs.common.db import Database
from libs.common.ledger import flows, requeueing
from libs.common.ledger.flows import Child, NewChild
from libs.common.ledger.jobs import State, new_id
from libs.common.ledger.picking import WINDOW_LARGEST, pick
from libs.common.worker.job import Done, FanOut, HandlerResult, Job
from libs.common.worker.worker import Worker

P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")


@dataclass(slots=True)
class Ran:
    """What a handler returned, and all progress that it reported."""

    done: Done
    progress: list[dict[str, Any]] = field(default_factory=list)


async def run_inline(
    handle: Callable[[Job[P], D], Awaitable[HandlerResult]],
    payload: P,
    deps: D,
    *,
    tenant: str = "test",
    kind: str = "test",
) -> Ran:
    """Run `handle` without ledger and retries, and if it fans out, run it for each child and then once more.

    Raises what `handle` raises, and AssertionError if it snoozes, or fans out again.
    """
    progress: list[dict[str, Any]] = []
    job = Job(new_id(), 1, tenant, kind, payload, progress.append)
    result = await handle(job, deps)
    if isinstance(result, FanOut):
        ended = []
        for child in result.children:
            child_payload = type(payload).model_validate_json(child.payload)
            done = await handle(Job(child.id, 1, tenant, child.kind, child_payload, lambda _: None, job.id), deps)
            if not isinstance(done, Done):
                raise AssertionError("run_inline does not support children that snooze or fan out")
            ended.append(_ended(child, done))
            progress.append({"done": len(ended), "total": len(result.children), "note": None})
        job.children, job.attempt = tuple(ended), 2
        result = await handle(job, deps)
    if not isinstance(result, Done):
        raise AssertionError("run_inline does not support a job that snoozes or fans out twice")
    return Ran(result, progress)


def _ended(child: NewChild, done: Done) -> Child:
    artifacts = [asdict(artifact) for artifact in done.artifacts]
    return Child(child.id, State.SUCCEEDED, orjson.loads(child.payload), done.result, artifacts, None)


async def enqueued(database: Database, **facts: str) -> list[dict[str, Any]]:
    """All unfinished jobs whose columns (queue, kind, tenant, …) equal `facts`, oldest first, with payload."""
    rows = await database.fetch(
        "SELECT to_jsonb(j) FROM ledger.jobs j WHERE finished_at IS NULL AND to_jsonb(j) @> $1::jsonb ORDER BY id",
        orjson.dumps(facts).decode(),
    )
    return [row[0] for row in rows]


async def drain(
    database: Database,
    bus: Bus,
    queue: str,
    payload: type[P],
    handle: Callable[[Job[P], D], Awaitable[HandlerResult]],
    deps: D,
) -> int:
    """Run every waiting job of `queue` to its end, and the jobs that these enqueue there. Return how many runs.

    Retries follow immediately, unless a handler asks for a delay.
    """
    worker = Worker(
        queue,
        payload,
        handle,
        deps,
        database=database,
        bus=bus,
        slots=WINDOW_LARGEST,
        grace_s=600,
        backoff=lambda _kind: Backoff(0, 0),
    )
    runs = 0
    async with worker.lease.kept():
        while True:
            await requeueing.promote_due(database)
            await flows.wake(database)
            ids, _ = await pick(database, queue, WINDOW_LARGEST, await requeueing.demand(database, queue))
            if not ids:
                return runs
            await worker.begin(ids)
            tasks = [running.task for running in worker.lease.held.values() if running.task is not None]
            runs += len(tasks)
            if tasks:
                await asyncio.wait(tasks)

"""For tests of services: run a handler inline, look at what was enqueued, work a queue off. No mocks.

ran = await run_inline(handle, payload, deps)           the handler alone; ran.done, ran.progress
jobs = await enqueued(database, queue="ocr")            what a test's subject has put into the ledger
await drain(database, bus, "ocr", Payload, handle, deps)   every waiting job to its end, without a conveyor
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
from libs.common.ledger import dispatch, flows
from libs.common.ledger.flows import Child, NewChild
from libs.common.ledger.jobs import State, new_id
from libs.common.ledger.picking import WINDOW_LARGEST, pick
from libs.common.worker.job import Done, FanOut, HandlerResult, Job
from libs.common.worker.worker import Worker

P = TypeVar("P", bound=BaseModel)
D = TypeVar("D")


@dataclass(slots=True)
class Ran:
    """What a handler returned, and the progress it reported on the way."""

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
    """Run `handle`, and for its children if it fans out, with no ledger and no retries. Raises what it raises."""
    progress: list[dict[str, Any]] = []
    job = Job(new_id(), 1, tenant, kind, payload, progress.append)
    end = await handle(job, deps)
    if isinstance(end, FanOut):
        ended = []
        for child in end.children:
            theirs = type(payload).model_validate_json(child.payload)
            done = await handle(Job(child.id, 1, tenant, child.kind, theirs, lambda _: None, job.id), deps)
            if not isinstance(done, Done):
                raise AssertionError("what children put off is not run inline")
            ended.append(_ended(child, done))
            progress.append({"done": len(ended), "total": len(end.children), "note": None})
        job.children, job.attempt = tuple(ended), 2
        end = await handle(job, deps)
    if not isinstance(end, Done):
        raise AssertionError("a job fans out once, and is not put off inline")
    return Ran(end, progress)


def _ended(child: NewChild, done: Done) -> Child:
    artifacts = [asdict(artifact) for artifact in done.artifacts]
    return Child(child.id, State.SUCCEEDED, orjson.loads(child.payload), done.result, artifacts, None)


async def enqueued(database: Database, **facts: str) -> list[dict[str, Any]]:
    """The unfinished jobs whose columns (queue, kind, tenant, …) are as given, oldest first, with payload."""
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
    """Run every job that waits in `queue`, and those that they enqueue there, to their ends; how many runs.

    Retries follow at once, unless a handler has asked for a wait.
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
            await dispatch.promote_due(database)
            await flows.wake(database)
            ids, _ = await pick(database, queue, WINDOW_LARGEST, await dispatch.demand(database, queue))
            if not ids:
                return runs
            await worker.begin(ids)
            tasks = [running.task for running in worker.lease.held.values() if running.task is not None]
            runs += len(tasks)
            if tasks:
                await asyncio.wait(tasks)

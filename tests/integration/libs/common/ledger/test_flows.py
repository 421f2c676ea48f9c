"""Flows: children do the work, the parent waits for them and takes its last step, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel

from libs.common import background
from libs.common.bus import Bus
from libs.common.db import Database, fetch_within
from libs.common.errors import Reject
from libs.common.ledger import claim as leases
from libs.common.ledger import consistency_check, flows, job_actions, jobs, requeueing, retention
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import Filter, NewJob, State, new_id
from libs.common.ledger.picking import pick
from libs.common.worker.job import Done, FanOut, Job
from libs.common.worker.worker import Worker
from services.gateway.engine.dispatcher import Dispatcher
from tests.polling import until


class Sum(BaseModel):
    """Numbers to add up; a child has one."""

    numbers: tuple[int, ...]


@dataclass
class Adder:
    """A handler that adds up numbers by letting a child look at each. A number in `bad` cannot be looked at."""

    bad: set[int] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    looked: list[int] = field(default_factory=list)

    async def handle(self, job: Job[Sum], _deps: None) -> Done | FanOut:
        numbers = job.payload.numbers
        if job.kind == "number":
            await self.gate.wait()
            self.looked.append(numbers[0])
            if numbers[0] in self.bad:
                raise Reject(f"{numbers[0]} is bad.")
            return Done({"number": numbers[0]})
        if not job.children:
            payloads = [orjson.dumps({"numbers": [number]}) for number in numbers]
            return FanOut(tuple(NewChild("number", payload) for payload in payloads))
        failed = [child for child in job.children if child.state is not State.SUCCEEDED]
        if failed:
            raise Reject(f"{len(failed)} of {len(job.children)} could not be looked at.")
        return Done({"sum": sum((child.result or {})["number"] for child in job.children)})


@pytest.fixture
def adder() -> Adder:
    made = Adder()
    made.gate.set()
    return made


@asynccontextmanager
async def at_work(
    database: Database, bus: Bus, queue: str, adder: Adder, *, workers: int = 1
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """A dispatcher and `workers` workers while the block runs."""
    stop = asyncio.Event()

    async def work() -> None:
        worker = Worker(queue, Sum, adder.handle, None, database=database, bus=bus, slots=3, grace_s=5)
        async with worker.lease.kept():
            await worker.run(stop)

    dispatcher = Dispatcher(database, bus, [queue])
    async with background.alongside(background.optional(dispatcher.run())):
        working = [asyncio.create_task(work()) for _ in range(workers)]
        try:
            yield working
        finally:
            stop.set()
            await asyncio.gather(*working, return_exceptions=True)


async def submitted(database: Database, queue: str, numbers: range) -> NewJob:
    payload = Sum(numbers=tuple(numbers)).model_dump_json().encode()
    job = NewJob("dev", "key", queue, "sum", payload, max_attempts=1)
    await accept(database, [job], ticketed=[False])
    return job


async def facts(database: Database, job: NewJob) -> dict[str, Any]:
    found = await jobs.find(database, "dev", job.id)
    assert found is not None
    return dict(found)


async def becomes(database: Database, job: NewJob, state: str) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        found = await facts(database, job)
        return found if found["state"] == state else None

    found = await until(there)
    assert found is not None
    return found


async def unaccounted(database: Database, queue: str) -> int:
    (account,) = [row for row in await consistency_check.balance(database) if row["queue"] == queue]
    return int(account["unaccounted"])


async def test_a_flow_runs_to_its_end(database: Database, nats_bus: Bus, queue: str, adder: Adder) -> None:
    async with at_work(database, nats_bus, queue, adder, workers=3):
        job = await submitted(database, queue, range(50))
        ended = await becomes(database, job, "succeeded")
    assert ended["result"] == {"sum": sum(range(50))}
    assert (ended["children"], ended["attempt"]) == (50, 2)
    assert sorted(adder.looked) == list(range(50))
    assert await unaccounted(database, queue) == 0


async def test_what_waits_shows_how_far_its_children_are(
    database: Database, nats_bus: Bus, queue: str, adder: Adder
) -> None:
    adder.gate.clear()
    async with at_work(database, nats_bus, queue, adder):
        job = await submitted(database, queue, range(6))
        waiting = await becomes(database, job, "waiting")
        assert (waiting["progress"]["done"], waiting["progress"]["total"]) == (0, 6)
        assert await unaccounted(database, queue) == 0
        assert [row["id"] for row in await jobs.page(database, "dev", Filter())] == [job.id]
        assert len(await jobs.page(database, "dev", Filter(parent=job.id))) == 6
        await database.fetch(
            "UPDATE ledger.jobs SET state = 'succeeded', finished_at = now(), started_at = now(),"
            " result = '{\"number\": 5}' WHERE parent = $1 AND payload = '{\"numbers\": [5]}'",
            job.id,
        )
        assert (await facts(database, job))["progress"]["done"] == 1
        assert (await facts(database, job))["progress"]["seconds_left"] is not None
        adder.gate.set()
        assert (await becomes(database, job, "succeeded"))["result"] == {"sum": 15}


async def test_only_what_failed_is_tried_again(
    database: Database, nats_bus: Bus, queue: str, adder: Adder
) -> None:
    adder.bad = {3, 4}
    async with at_work(database, nats_bus, queue, adder):
        job = await submitted(database, queue, range(10))
        failed = await becomes(database, job, "failed")
        assert failed["error"]["message"] == "2 of 10 could not be looked at."
        adder.bad.clear()
        adder.looked.clear()
        (child,) = await jobs.page(database, "dev", Filter(parent=job.id, states=(State.FAILED,)), limit=1)
        assert not await job_actions.retry(database, "dev", child["id"])
        assert await job_actions.retry(database, "dev", job.id)
        assert (await becomes(database, job, "succeeded"))["result"] == {"sum": 45}
    assert sorted(adder.looked) == [3, 4]
    assert await unaccounted(database, queue) == 0


async def test_a_cancel_reaches_every_child(database: Database, nats_bus: Bus, queue: str, adder: Adder) -> None:
    adder.gate.clear()
    async with at_work(database, nats_bus, queue, adder):
        job = await submitted(database, queue, range(20))
        await becomes(database, job, "waiting")

        async def some_run() -> bool:
            return bool(await jobs.page(database, "dev", Filter(parent=job.id, states=(State.RUNNING,))))

        await until(some_run)
        cancelled = await job_actions.cancel(database, "dev", job.id)
        assert len(cancelled) == 21
        assert (await facts(database, job))["state"] == "cancelled"

        async def all_ended() -> bool:
            states = (State.QUEUED, State.RUNNING, State.SCHEDULED)
            return not await jobs.page(database, "dev", Filter(parent=job.id, states=states))

        await until(all_ended, patience_s=60)
        assert adder.looked == []
        assert (await facts(database, job))["progress"]["done"] == 0
        adder.gate.set()
        assert await job_actions.retry(database, "dev", job.id)
        assert (await becomes(database, job, "succeeded"))["result"] == {"sum": sum(range(20))}
    assert await unaccounted(database, queue) == 0


async def test_a_worker_that_dies_after_the_last_child_is_made_up_for(database: Database, queue: str) -> None:
    job = await submitted(database, queue, range(2))
    await database.fetch("UPDATE ledger.jobs SET state = 'running' WHERE id = $1", job.id)
    children = [NewChild("number", b'{"numbers": [1]}') for _ in range(2)]
    progress = {"done": 0, "total": 2, "note": None}
    assert await flows.fan_out(database, job.id, job.id, 0, children, progress) is None  # it has no such worker
    await database.fetch("UPDATE ledger.jobs SET worker = id WHERE id = $1", job.id)
    await leases.register(database, job.id, queue=queue, slots=1, host="h", pid=1)
    assert (
        len(await flows.fan_out(database, job.id, job.id, 0, children, progress) or []) == 1
    )  # one for each slot
    assert await flows.fan_out(database, job.id, job.id, 0, children, progress) is None
    assert await flows.wake(database) == []
    await database.fetch("UPDATE ledger.jobs SET state = 'failed', finished_at = now() WHERE parent = $1", job.id)
    assert await flows.wake(database) == [(job.id, queue)]
    assert await flows.wake(database) == []


async def test_many_workers_wake_a_parent_once(database: Database, queue: str) -> None:
    """The children end at the same time, in many transactions: one of them sees that all have."""
    for _ in range(20):
        job = await submitted(database, queue, range(8))
        await database.fetch("UPDATE ledger.jobs SET state = 'running', worker = id WHERE id = $1", job.id)
        children = [NewChild("number", b'{"numbers": [1]}') for _ in range(8)]
        await flows.fan_out(database, job.id, job.id, 0, children, {"done": 0, "total": 8, "note": None})

        async def end(child: NewChild, parent: NewJob = job) -> int:
            sql = "UPDATE ledger.jobs SET state = 'succeeded', finished_at = now() WHERE id = $1"
            await database.fetch(sql, child.id)
            return len(await flows.wake(database, parent.id))

        assert sum(await asyncio.gather(*map(end, children))) == 1
        await database.fetch("DELETE FROM ledger.jobs WHERE state = 'queued'")


async def waiting_parent(database: Database, queue: str, children: int) -> NewJob:
    """A job that waits, as its worker left it."""
    job = await submitted(database, queue, range(children))
    await database.fetch("UPDATE ledger.jobs SET state = 'running', worker = id WHERE id = $1", job.id)
    new = [NewChild("number", b'{"numbers": [1]}') for _ in range(children)]
    await flows.fan_out(database, job.id, job.id, 0, new, {"done": 0, "total": children, "note": None})
    return job


async def test_what_is_sent_during_a_flow_comes_before_the_rest_of_it(database: Database, queue: str) -> None:
    flow = await waiting_parent(database, queue, 100)
    await pass_seconds(database, 15)
    soon = await submitted(database, queue, range(1))
    await pass_seconds(database, flows.CHILD_YIELDS_AT_MOST_S)
    late = await submitted(database, queue, range(1))
    order = (await pick(database, queue, 102, await requeueing.demand(database, queue))).ids
    assert (order.index(soon.id), order.index(late.id)) == (1, 101), "but nothing overtakes it for ever"
    parts = [job_id for job_id in order if job_id not in (soon.id, late.id)]
    assert parts == [child.id for child in await flows.children_of(database, flow.id)]


async def pass_seconds(database: Database, seconds: float) -> None:
    """Let all jobs have waited so much longer."""
    await database.fetch("UPDATE ledger.jobs SET rank = rank - $1::float8 * interval '1 s'", seconds)


async def test_a_cancel_that_meets_a_fan_out_reaches_the_new_children(database: Database, queue: str) -> None:
    job = await submitted(database, queue, range(3))
    await database.fetch("UPDATE ledger.jobs SET state = 'running', worker = id WHERE id = $1", job.id)
    async with database.begin() as fanning_out:
        await fetch_within(fanning_out, "UPDATE ledger.jobs SET state = 'waiting', children = 3, progress = '{}'")
        cancelling = asyncio.create_task(job_actions.cancel(database, "dev", job.id))

        async def it_waits_for_the_row() -> bool:
            sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return bool(await database.fetch(sql))

        await until(it_waits_for_the_row)
        await fetch_within(
            fanning_out,
            "INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,"
            " max_attempts, timeout_s, due_at, parent) SELECT gen_random_uuid(), tenant, created_by, queue, kind,"
            " 'queued', priority, rank, payload, tags, max_attempts, timeout_s, due_at, id"
            " FROM ledger.jobs, generate_series(1, 3)",
        )
    assert len(await cancelling) == 4
    assert {row[0] for row in await database.fetch("SELECT state FROM ledger.jobs")} == {"cancelled"}


async def test_what_still_stops_is_neither_retried_nor_struck_off(database: Database, queue: str) -> None:
    job = await waiting_parent(database, queue, 3)
    await database.fetch(
        "UPDATE ledger.jobs SET state = 'running'"
        " WHERE id = (SELECT id FROM ledger.jobs WHERE parent = $1 LIMIT 1)",
        job.id,
    )
    assert len(await job_actions.cancel(database, "dev", job.id)) == 4
    assert not await job_actions.retry(database, "dev", job.id)
    assert await retention.remove_ended_jobs(database, older_than_s=-1, limit=10) == 0
    await database.fetch("UPDATE ledger.jobs SET state = 'cancelled', finished_at = now() WHERE state = 'running'")
    assert await job_actions.retry(database, "dev", job.id)
    assert (await facts(database, job))["state"] == "waiting"


async def test_flows_are_found_by_indexes(database: Database, queue: str) -> None:
    """However many jobs there are: none of these reads them all."""
    job = await waiting_parent(database, queue, 3)
    await database.fetch(
        "INSERT INTO ledger.jobs (id, tenant, created_by, queue, kind, state, priority, rank, payload, tags,"
        " max_attempts, timeout_s, due_at, finished_at) SELECT gen_random_uuid(), 'dev', 'k', 'other', 'k',"
        " 'succeeded', 'normal', now(), '{}', '[]', 1, 1, now(), now() FROM generate_series(1, 50000)"
    )
    await database.fetch("ANALYZE ledger.jobs")
    await database.fetch("SELECT pg_stat_reset()")
    await flows.wake(database)
    await flows.wake(database, job.id)
    await facts(database, job)
    await job_actions.cancel(database, "dev", job.id)
    await job_actions.retry(database, "dev", job.id)
    await database.fetch("SELECT pg_stat_force_next_flush()")
    (row,) = await database.fetch("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'jobs'")
    assert row[0] < 50_000


async def test_a_job_cannot_wait_for_nobody() -> None:
    with pytest.raises(ValueError, match="at least one child"):
        FanOut(())


async def test_children_that_cannot_be_stored_fail_the_job(database: Database, nats_bus: Bus, queue: str) -> None:
    async def handle(_job: Job[Sum], _deps: None) -> FanOut:
        return FanOut((NewChild("number", b'{"numbers": "\\u0000"}'),))

    stop = asyncio.Event()
    worker = Worker(queue, Sum, handle, None, database=database, bus=nats_bus, slots=1, grace_s=5)
    job = await submitted(database, queue, range(1))
    dispatcher = Dispatcher(database, nats_bus, [queue])
    async with background.alongside(background.optional(dispatcher.run())), worker.lease.kept():
        working = asyncio.create_task(worker.run(stop))
        failed = await becomes(database, job, "failed")
        stop.set()
        await working
    assert failed["error"]["code"] == "bug"


async def test_a_paused_queue_gets_no_tickets_from_a_fan_out(database: Database, queue: str) -> None:
    job = await submitted(database, queue, range(2))
    await database.fetch("UPDATE ledger.jobs SET state = 'running', worker = id WHERE id = $1", job.id)
    await database.fetch("INSERT INTO ledger.queues (name, paused_at) VALUES ($1, now())", queue)
    children = [NewChild("number", b'{"numbers": [1]}') for _ in range(2)]
    progress = {"done": 0, "total": 2, "note": None}
    assert await flows.fan_out(database, job.id, job.id, 0, children, progress) == []
    demand = await requeueing.demand(database, queue)
    assert demand.backlog
    assert demand.paused


async def test_progress_does_not_fall_when_the_parent_takes_its_last_step(database: Database, queue: str) -> None:
    worker = new_id()
    await leases.register(database, worker, queue=queue, slots=9, host="h", pid=1)
    job = await submitted(database, queue, range(1))

    async def claimed(job_id: UUID) -> Claim:
        await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = $1", job_id)
        (claim,) = await leases.claim(database, worker, [job_id])
        return claim

    parent = await claimed(job.id)
    progress = {"done": 0, "total": 1, "note": None}
    (child,) = (
        await flows.fan_out(database, worker, job.id, parent.attempt, [NewChild("number", b"{}")], progress) or []
    )
    looked = await claimed(child)
    await finish(database, worker, [Outcome(child, looked.attempt, State.SUCCEEDED)])
    await flows.wake(database, job.id)
    await claimed(job.id)
    told = (await facts(database, job))["progress"]
    assert (told["done"], told["total"]) == (1, 1)


async def test_children_are_struck_off_with_their_parent(
    database: Database, nats_bus: Bus, queue: str, adder: Adder
) -> None:
    async with at_work(database, nats_bus, queue, adder):
        job = await submitted(database, queue, range(5))
        await becomes(database, job, "succeeded")
    await database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '1 day' WHERE parent = $1", job.id)
    assert await retention.remove_ended_jobs(database, older_than_s=3600, limit=100) == 0
    await database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '1 day'")
    assert await retention.remove_ended_jobs(database, older_than_s=3600, limit=100) == 1
    assert await database.fetch("SELECT FROM ledger.jobs") == []

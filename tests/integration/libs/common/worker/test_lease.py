"""The lease: what a worker holds stays its own while it lives, and no longer."""

import asyncio
import time
from uuid import UUID

import pytest

from libs.common.bus import Bus
from libs.common.contracts.events import Event, cancel_subject, decode_events, encode_cancels, events_subject
from libs.common.db import Database
from libs.common.ledger.claim import Claim
from libs.common.ledger.jobs import new_id
from libs.common.worker import lease
from libs.common.worker.job import Done, Job
from libs.common.worker.lease import Lease, Running, Stop
from tests.integration.libs.common.worker.working_fleet import Fleet, Payload
from tests.polling import until


async def test_a_worker_taken_for_dead_loses_its_jobs_and_starts_anew(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)
    attempts: list[int] = []

    async def handle(job: Job[Payload], _deps: None) -> Done:
        attempts.append(job.attempt)
        if job.attempt == 1:
            await asyncio.Event().wait()
        return Done({"attempt": job.attempt})

    job_id = await fleet.submit()
    async with fleet.working(handle):
        await fleet.becomes(job_id, "running")
        await fleet.database.fetch("DELETE FROM ledger.workers")
        facts = await fleet.ended(job_id)
    assert facts["result"] == {"attempt": 2}
    assert attempts == [1, 2]


async def test_a_claim_whose_answer_was_lost_comes_back_with_the_heartbeat(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)

    async def handle(job: Job[Payload], _deps: None) -> Done:
        return Done({"attempt": job.attempt})

    job_id = await fleet.submit(run_at=None)
    await fleet.database.fetch("UPDATE ledger.jobs SET state = 'scheduled', due_at = now() + interval '1 h'")
    async with fleet.working(handle):

        async def registered() -> bool:
            return bool(await fleet.database.fetch("SELECT 1 FROM ledger.workers"))

        await until(registered)
        await fleet.database.fetch(
            "UPDATE ledger.jobs SET state = 'running', attempt = 1, started_at = now() - interval '1 min',"
            " worker = (SELECT id FROM ledger.workers), due_at = now() WHERE id = $1",
            job_id,
        )
        facts = await fleet.ended(job_id)
    assert (facts["result"], facts["failures"]) == ({"attempt": 2}, 0)


async def registered(database: Database) -> list[UUID]:
    return [row[0] for row in await database.fetch("SELECT id FROM ledger.workers")]


def a_claim(timeout_s: float = 60.0) -> Claim:
    return Claim(new_id(), 1, 0, 3, timeout_s, "dev", "k", "{}", None, 0.0, None, 0)


async def test_a_process_is_registered_while_it_keeps_its_lease(
    database: Database, nats_bus: Bus, queue: str
) -> None:
    kept = Lease(database, nats_bus, queue, 3)
    assert not kept.valid
    async with kept.kept():
        assert kept.valid
        assert await registered(database) == [kept.worker]
    assert await registered(database) == []


async def test_what_a_block_raises_ends_the_lease_too(database: Database, nats_bus: Bus, queue: str) -> None:
    with pytest.raises(ValueError, match="the block's"):
        async with Lease(database, nats_bus, queue, 3).kept():
            raise ValueError("the block's")
    assert await registered(database) == []


async def test_a_lease_that_was_not_renewed_is_over(
    database: Database, nats_bus: Bus, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Lease(database, nats_bus, queue, 3)
    async with kept.kept():
        monkeypatch.setattr(lease, "LEASE_S", 0.0)
        assert not kept.valid


async def test_a_job_is_told_to_stop_by_whoever_names_it(database: Database, nats_bus: Bus, queue: str) -> None:
    kept = Lease(database, nats_bus, queue, 3)
    wanted, unwanted = (Running(a_claim(), time.perf_counter()) for _ in range(2))
    kept.held = {(running.claim.id, 1): running for running in (wanted, unwanted)}

    async def told() -> bool:
        return unwanted.stopped_for is not None

    async with kept.kept():
        await nats_bus.publish(cancel_subject(queue), b"nonsense")
        await nats_bus.publish(cancel_subject(queue), encode_cancels([new_id(), unwanted.claim.id]))
        await until(told)
    assert unwanted.stopped_for is Stop.CANCELLED
    assert wanted.stopped_for is None


async def test_the_latest_progress_is_told_and_only_once(database: Database, nats_bus: Bus, queue: str) -> None:
    kept = Lease(database, nats_bus, queue, 3)
    running = Running(a_claim(), time.perf_counter())
    kept.held[running.claim.id, 1] = running
    heard: list[Event] = []

    async def told() -> bool:
        return bool(heard) and heard[-1].progress == {"done": 9}

    async with (
        nats_bus.listening(events_subject(queue), lambda message: heard.extend(decode_events(message))),
        kept.kept(),
    ):
        for done in range(10):
            kept.progressed(running, {"done": done})
        await until(told)
        kept.progressed(Running(a_claim(), 0.0), {"done": 1})  # of a job that has ended meanwhile
        await kept.tell([])
        kept.progressed(running, {"done": 9})
    assert {event.job for event in heard} == {running.claim.id.hex}
    assert all(event.state is None for event in heard)


async def test_a_stop_cancels_only_what_has_begun_and_again_only_after_a_while() -> None:
    cancels = 0

    async def stubborn() -> None:
        nonlocal cancels
        while cancels < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1

    running = Running(a_claim(), time.perf_counter(), asyncio.create_task(stubborn()))
    assert running.task is not None
    running.stop(Stop.SHUTDOWN)
    await asyncio.sleep(0)
    assert (cancels, running.stopped_for) == (0, Stop.SHUTDOWN), "its handler has not begun, and will not"
    running.in_handler, running.stopped_at = True, float("-inf")
    for _ in range(3):
        running.stop(Stop.CANCELLED)
        await asyncio.sleep(0)
    assert (cancels, running.stopped_for) == (1, Stop.SHUTDOWN), "the first reason stays"
    running.stopped_at -= lease.STOP_AGAIN_AFTER_S
    running.stop(Stop.CANCELLED)
    await running.task
    assert cancels == 2

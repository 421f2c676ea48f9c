"""Jobs that give way to other tenants: on real servers, from the dispatcher's decision to the second attempt."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.contracts.events import cancel_subject, encode_preemptions
from libs.common.ledger import queues, sharing
from libs.common.ledger.flows import NewChild
from libs.common.worker import lease
from libs.common.worker.job import Done, FanOut, Job
from tests.integration.libs.common.worker.working_fleet import Fleet, Payload
from tests.polling import until

WAITED_S = 0.5


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no test waits for long."""
    monkeypatch.setattr(sharing, "WAITED_S", WAITED_S)
    monkeypatch.setattr(sharing, "LONG_S", 0.0)


class Work:
    """A handler: `flood` is held at the gate, everything else ends at once. Its effects count the ends."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[tuple[str, UUID, int]] = []
        self.stopped: list[tuple[UUID, int]] = []

    async def __call__(self, job: Job[Payload], _deps: None) -> Done:
        self.begun.append((job.tenant, job.id, job.attempt))
        if job.payload.do == "flood":
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.stopped.append((job.id, job.attempt))
                raise

        async def effects(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql("INSERT INTO ends VALUES ($1, $2)", (job.id, job.attempt))

        return Done({"attempt": job.attempt}, effects=effects)


@pytest.fixture
async def work(fleet: Fleet) -> Work:
    await fleet.database.fetch("CREATE TABLE ends (job uuid, attempt int)")
    return Work()


async def flood(fleet: Fleet, number: int = 4) -> list[UUID]:
    return [await fleet.submit("flood", tenant="flood", max_attempts=1) for _ in range(number)]


def runs(fleet: Fleet, number: int) -> Callable[[], Awaitable[bool]]:
    async def do() -> bool:
        rows = await fleet.database.fetch("SELECT FROM ledger.jobs WHERE state = 'running'")
        return len(rows) == number

    return do


async def preempted(fleet: Fleet) -> Counter[UUID]:
    rows = await fleet.database.fetch(
        "SELECT id, cardinality(preempted) FROM ledger.jobs WHERE preempted IS NOT NULL"
    )
    return Counter({row[0]: row[1] for row in rows})


async def ask(fleet: Fleet, job_id: UUID) -> int:
    """Ask the running attempt of a job to give way, in the ledger only. Returns its number."""
    (row,) = await fleet.database.fetch(
        "UPDATE ledger.jobs SET preempted = array_append(preempted, attempt) WHERE id = $1 AND state = 'running'"
        " RETURNING attempt",
        job_id,
    )
    return int(row[0])


async def test_s31_one_tenants_slow_jobs_do_not_keep_another_out(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        first = await fleet.submit(tenant="other")
        await fleet.ended(first)
        ids = await flood(fleet)
        await until(runs(fleet, 2))
        other = await fleet.submit(tenant="other")
        facts = await fleet.ended(other)
        assert facts["state"] == "succeeded", "though none of the flood has ended"
        assert sum((await preempted(fleet)).values()) == 1
        work.gate.set()
        ends = [await fleet.ended(job_id) for job_id in ids]
    assert [(end["state"], end["failures"], end["errors"]) for end in ends] == [("succeeded", 0, None)] * 4
    rows = await fleet.database.fetch("SELECT job, attempt FROM ends")
    assert Counter(row[0] for row in rows) == Counter([first, other, *ids]), "each has ended once"
    ((gave_way, attempt),) = work.stopped
    assert {row[0]: row[1] for row in rows}[gave_way] == attempt + 1
    (row,) = await fleet.database.fetch("SELECT sum(crashes)::int FROM ledger.jobs")
    assert row[0] == 0


async def test_a_tenant_alone_is_left_in_peace(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        ids = await flood(fleet)
        await until(runs(fleet, 2))
        looked = time.monotonic() + 4 * WAITED_S

        async def has_been_looked_at() -> bool:
            return fleet.dispatcher._queues[fleet.queue].seen_at > looked

        await until(has_been_looked_at)
        assert not await preempted(fleet)
        work.gate.set()
        for job_id in ids:
            await fleet.ended(job_id)
    assert work.stopped == []


async def test_a_page_gives_way_and_its_document_is_completed(fleet: Fleet, work: Work) -> None:
    async def handle(job: Job[Payload], deps: None) -> Done | FanOut:
        if job.payload.do == "document" and not job.children:
            return FanOut(tuple(NewChild("page", b'{"do": "flood"}') for _ in range(4)))
        if job.payload.do == "document":
            return Done({"pages": [child.result for child in job.children]})
        return await work(job, deps)

    async with fleet.working(handle, slots=2):  # type: ignore[arg-type]  # it fans out too
        document = await fleet.submit("document", tenant="flood")
        await until(runs(fleet, 2))
        await fleet.ended(await fleet.submit(tenant="other"))
        ((page, _),) = (await preempted(fleet)).items()
        assert page != document
        work.gate.set()
        facts = await fleet.ended(document)
    assert facts["state"] == "succeeded"
    assert sorted(result["attempt"] for result in facts["result"]["pages"]) == [1, 1, 1, 2]


async def test_only_the_attempt_that_was_asked_gives_way(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        (job_id,) = await flood(fleet, 1)
        await until(runs(fleet, 1))
        await fleet.bus.publish(cancel_subject(fleet.queue), encode_preemptions([(job_id, 7)]))
        await fleet.bus.publish(
            cancel_subject(fleet.queue), encode_preemptions([(job_id, await ask(fleet, job_id))])
        )

        async def again() -> bool:
            return ("flood", job_id, 2) in work.begun

        await until(again)
        await fleet.bus.publish(cancel_subject(fleet.queue), encode_preemptions([(job_id, 1)]))  # comes late
        work.gate.set()
        facts = await fleet.ended(job_id)
    assert (facts["result"], facts["failures"], work.stopped) == ({"attempt": 2}, 0, [(job_id, 1)])


async def test_without_nats_the_heartbeat_tells(fleet: Fleet, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_EVERY_S", 0.0)
    async with fleet.working(work, slots=2):
        (job_id,) = await flood(fleet, 1)
        await until(runs(fleet, 1))
        await ask(fleet, job_id)

        async def stopped() -> bool:
            return work.stopped == [(job_id, 1)]

        await until(stopped)
        work.gate.set()
        assert (await fleet.ended(job_id))["result"] == {"attempt": 2}


async def test_a_cancel_that_comes_meanwhile_is_a_cancel(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        (job_id,) = await flood(fleet, 1)
        await until(runs(fleet, 1))
        attempt = await ask(fleet, job_id)
        await fleet.database.fetch("UPDATE ledger.jobs SET cancel_requested_at = now() WHERE id = $1", job_id)
        await fleet.bus.publish(cancel_subject(fleet.queue), encode_preemptions([(job_id, attempt)]))
        assert (await fleet.ended(job_id))["state"] == "cancelled"


async def test_in_a_paused_queue_nobody_is_asked(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        await flood(fleet)
        await until(runs(fleet, 2))
        await queues.pause(fleet.database, fleet.queue)
        fleet.dispatcher.close_fast_path(fleet.queue)
        other = await fleet.submit(tenant="other")
        looked = time.monotonic() + 4 * WAITED_S

        async def has_been_looked_at() -> bool:
            return fleet.dispatcher._queues[fleet.queue].seen_at > looked

        await until(has_been_looked_at)
        assert not await preempted(fleet)
        await queues.resume(fleet.database, fleet.queue)
        await fleet.ended(other)
        work.gate.set()


async def test_a_job_gives_way_three_times_at_most(fleet: Fleet, work: Work) -> None:
    async with fleet.working(work, slots=2):
        ids = await flood(fleet, 2)  # so that nothing else of the flood can take the slot of who gave way
        for _ in range(3):
            await until(runs(fleet, 2))
            await fleet.ended(await fleet.submit(tenant="other"))
        await until(runs(fleet, 2))
        assert max((await preempted(fleet)).values()) <= 3
        work.gate.set()
        for job_id in ids:
            assert (await fleet.ended(job_id))["state"] == "succeeded"
    assert set((await preempted(fleet)).values()) == {3}
    assert len(work.stopped) == 3

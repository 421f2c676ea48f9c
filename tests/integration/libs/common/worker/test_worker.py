"""The worker runtime on real servers: every job to one end, whatever the handler does."""

import asyncio
import secrets
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.common.errors import Reject, Retry, StorageUnavailable, Unavailable
from libs.common.ledger.jobs import NewJob
from libs.common.worker.job import Done, Job
from tests.integration.libs.common.worker.working_fleet import Fleet, Payload
from tests.polling import until


async def test_a_job_succeeds_with_its_result_and_progress(fleet: Fleet) -> None:
    async def handle(job: Job[Payload], _deps: None) -> Done:
        job.progress(2, 2, "all")
        return Done({"did": job.payload.do, "tenant": job.tenant})

    job_id = await fleet.submit("sing")
    async with fleet.working(handle):
        facts = await fleet.ended(job_id)
    assert (facts["state"], facts["result"]) == ("succeeded", {"did": "sing", "tenant": "dev"})
    assert facts["progress"] == {"done": 2, "total": 2, "note": "all"}


async def test_many_jobs_run_once_each(fleet: Fleet) -> None:
    runs: dict[UUID, int] = {}

    async def handle(job: Job[Payload], _deps: None) -> Done:
        runs[job.id] = runs.get(job.id, 0) + 1
        return Done()

    async with fleet.working(handle, slots=7), fleet.working(handle, slots=3):
        ids = await asyncio.gather(*(fleet.submit() for _ in range(500)))
        for job_id in ids:
            assert (await fleet.ended(job_id))["state"] == "succeeded"
    assert set(runs.values()) == {1}
    assert set(runs) == set(ids)


class Unwilling(Reject):
    """I will not."""


@pytest.mark.parametrize(
    ("error", "state", "code", "failures"),
    [
        (Unwilling(), "failed", "unwilling", 1),
        (Retry("later", after=0.01), "failed", "retry", 2),
        (ValueError("bug"), "failed", "bug", 2),
    ],
)
async def test_errors(fleet: Fleet, error: Exception, state: str, code: str, failures: int) -> None:
    async def handle(_job: Job[Payload], _deps: None) -> Done:
        raise error

    job_id = await fleet.submit(max_attempts=2)
    async with fleet.working(handle):
        facts = await fleet.ended(job_id)
    assert (facts["state"], facts["error"]["code"], facts["failures"]) == (state, code, failures)
    assert [(kept["attempt"], kept["code"], kept["type"]) for kept in facts["errors"]] == [
        (attempt, code, type(error).__qualname__) for attempt in range(1, failures + 1)
    ]
    assert all(kept["at"] and kept["message"] for kept in facts["errors"])


@pytest.mark.parametrize("error", [StorageUnavailable(), Unavailable("Redis is away.")])
async def test_a_server_that_is_away_costs_no_attempt(fleet: Fleet, error: Unavailable) -> None:
    away, told = True, False

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        if away:
            raise error
        return Done({"after": "all"})

    job_id = await fleet.submit(max_attempts=1)

    async def tried_twice() -> bool:
        nonlocal told
        facts = await fleet.facts(job_id)
        told = told or (facts["state"], facts["failures"]) == ("scheduled", 0)
        return facts["attempt"] >= 2 and told

    async with fleet.working(handle):
        await until(tried_twice)
        assert (await fleet.facts(job_id))["error"]["code"] == error.code
        away = False
        facts = await fleet.ended(job_id)
    assert (facts["state"], facts["failures"], facts["result"]) == ("succeeded", 0, {"after": "all"})
    assert len(facts["errors"]) == 1, "an outage is one entry, however often the job was tried"


async def test_a_payload_of_another_shape_is_refused(fleet: Fleet) -> None:
    async def handle(_job: Job[Payload], _deps: None) -> Done:
        return Done()

    job = NewJob("dev", "key", fleet.queue, "test", b'{"do": []}')
    await fleet.dispatcher.accept(job)
    async with fleet.working(handle):
        facts = await fleet.ended(job.id)
    assert (facts["state"], facts["error"]["code"]) == ("failed", "invalid_payload")


async def test_a_result_that_cannot_be_stored_fails_only_its_own_job(fleet: Fleet) -> None:
    async def handle(job: Job[Payload], _deps: None) -> Done:
        return Done({"text": "\x00"}) if job.payload.do == "spoil" else Done({"text": "fine"})

    ids = [await fleet.submit(do, max_attempts=1) for do in ("work", "spoil", "work")]
    async with fleet.working(handle):
        ends = [(await fleet.ended(job_id))["state"] for job_id in ids]
    assert ends == ["succeeded", "failed", "succeeded"]


async def test_a_job_that_takes_too_long_is_stopped(fleet: Fleet) -> None:
    stopped = asyncio.Event()

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return Done()

    job_id = await fleet.submit(max_attempts=1, timeout_s=0.1)
    async with fleet.working(handle):
        facts = await fleet.ended(job_id)
    assert facts["error"]["code"] == "timed_out"
    assert stopped.is_set()


async def test_effects_commit_with_the_end(fleet: Fleet) -> None:
    await fleet.database.fetch("CREATE TABLE effects (job uuid)")

    async def handle(job: Job[Payload], _deps: None) -> Done:
        async def effects(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql("INSERT INTO effects VALUES ($1)", (job.id,))
            if job.payload.do == "break":
                raise RuntimeError("half way")

        return Done({}, effects=effects)

    good, bad = await fleet.submit(), await fleet.submit("break", max_attempts=1)
    async with fleet.working(handle):
        assert (await fleet.ended(good))["state"] == "succeeded"
        assert (await fleet.ended(bad))["state"] == "failed"
    assert [row[0] for row in await fleet.database.fetch("SELECT job FROM effects")] == [good]


async def test_shutdown_lets_running_jobs_finish(fleet: Fleet) -> None:
    go_on = asyncio.Event()

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        await go_on.wait()
        return Done()

    job_id = await fleet.submit()
    async with fleet.working(handle) as stop:
        await fleet.becomes(job_id, "running")
        stop.set()
        go_on.set()
    assert (await fleet.facts(job_id))["state"] == "succeeded"


async def test_shutdown_gives_back_what_does_not_finish_in_time(fleet: Fleet) -> None:
    async def never_end(_job: Job[Payload], _deps: None) -> Done:
        await asyncio.Event().wait()
        return Done()

    async def end(_job: Job[Payload], _deps: None) -> Done:
        return Done()

    job_id = await fleet.submit()
    async with fleet.working(never_end, grace_s=0) as stop:
        await fleet.becomes(job_id, "running")
        stop.set()
    async with fleet.working(end):
        facts = await fleet.ended(job_id)
    assert (facts["state"], facts["attempt"], facts["failures"]) == ("succeeded", 2, 0)


async def test_jobs_wait_in_the_ledger_while_nobody_works(fleet: Fleet) -> None:
    ids = [await fleet.submit() for _ in range(100)]
    depth = (await fleet.bus.stream_state(fleet.queue)).depth
    assert depth <= 8 + 8  # the smallest window, once by accept and once by dispatch

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        return Done()

    async with fleet.working(handle):
        for job_id in ids:
            await fleet.ended(job_id)


async def test_lost_tickets_are_printed_again(fleet: Fleet) -> None:
    job_id = await fleet.submit()
    await fleet.database.fetch("UPDATE ledger.jobs SET ticketed_at = now() - interval '1 min'")
    async with fleet.bus.tickets(fleet.queue) as tickets:
        while await tickets.take(10, wait_s=0.3):
            pass

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        return Done()

    async with fleet.working(handle):
        assert (await fleet.ended(job_id))["state"] == "succeeded"


async def test_progress_that_cannot_be_stored_as_it_is_harms_nobody(fleet: Fleet) -> None:
    async def handle(job: Job[Payload], _deps: None) -> Done:
        job.progress(1, 2, "a\x00b\udcff")
        return Done()

    job_id = await fleet.submit()
    async with fleet.working(handle):
        facts = await fleet.ended(job_id)
    assert (facts["state"], facts["progress"]["note"]) == ("succeeded", "ab?")


async def test_a_handler_that_will_not_let_go_does_not_keep_the_worker_from_stopping(fleet: Fleet) -> None:
    over = asyncio.Event()

    async def handle(_job: Job[Payload], _deps: None) -> Done:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        return Done()

    job_id = await fleet.submit()
    async with fleet.working(handle, grace_s=0):
        await fleet.becomes(job_id, "running")
    assert (await fleet.facts(job_id))["state"] == "queued"
    over.set()


async def test_large_payloads_are_read_and_the_lease_is_kept_meanwhile(fleet: Fleet) -> None:
    seen = list[int]()

    async def handle(job: Job[Payload], _deps: None) -> Done:
        seen.append(len(job.payload.do))
        return Done({})

    sizes = [4_000_000 + 2 * number for number in range(6)]
    ids = [await fleet.submit(secrets.token_hex(size // 2)) for size in sizes]
    async with fleet.working(handle, slots=6):
        for job_id in ids:
            facts = await fleet.ended(job_id)
            assert (facts["state"], facts["attempt"], facts["failures"]) == ("succeeded", 1, 0)
    assert sorted(seen) == sizes

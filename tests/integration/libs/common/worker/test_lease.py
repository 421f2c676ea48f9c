"""The lease: what a worker holds stays its own while it lives, and no longer."""

import asyncio

import pytest

from libs.common.worker import lease
from libs.common.worker.job import Done, Job
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

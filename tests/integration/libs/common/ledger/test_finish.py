"""How an attempt ends: written once, by the worker that still holds the job."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import consistency_check, jobs, requeueing
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.jobs import Priority, State, new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    claimed,
    die,
    new_job,
    state_of,
    ticket,
    unaccounted,
    worker,
)


async def test_finish_writes_the_end_once(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    end = Outcome(
        claim.id, claim.attempt, State.SUCCEEDED, result={"answer": 42}, artifacts=[{"name": "a", "size": 5}]
    )
    assert await finish(database, worker_id, [end]) == [True]
    assert await finish(database, worker_id, [end]) == [False]
    facts = await jobs.find(database, "dev", claim.id)
    assert facts is not None
    assert (facts["state"], facts["result"], facts["artifacts"]) == (
        "succeeded",
        {"answer": 42},
        [{"name": "a", "size": 5}],
    )
    assert facts["finished_at"] is not None


@pytest.mark.parametrize("wrong", ["attempt", "worker"])
async def test_the_fence_refuses_whoever_no_longer_holds_the_job(database: Database, wrong: str) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    attempt = claim.attempt - (wrong == "attempt")
    holder = new_id() if wrong == "worker" else worker_id
    assert await finish(database, holder, [Outcome(claim.id, attempt, State.SUCCEEDED)]) == [False]
    assert await state_of(database, claim.id) == "running"


async def test_a_zombie_cannot_write_over_its_successor(database: Database) -> None:
    zombie = await worker(database)
    (stale,) = await claimed(database, zombie, new_job())
    await die(database, zombie)
    assert (await requeueing.recover(database)).jobs == 1
    successor = await worker(database)
    await ticket(database, stale.id)
    (fresh,) = await leases.claim(database, successor, [stale.id])
    assert await finish(database, zombie, [Outcome(stale.id, stale.attempt, State.FAILED)]) == [False]
    assert await finish(database, successor, [Outcome(fresh.id, fresh.attempt, State.SUCCEEDED)]) == [True]


async def test_effects_roll_back_with_a_refused_end(database: Database) -> None:
    await database.fetch("CREATE TABLE effects (n int)")
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())

    async def end_with_effect() -> bool:
        async with database.begin() as connection:
            await connection.exec_driver_sql("INSERT INTO effects VALUES (1)")
            taken = await finish_within(connection, worker_id, Outcome(claim.id, claim.attempt, State.SUCCEEDED))
            if not taken:
                await connection.rollback()
        return taken

    assert [await end_with_effect(), await end_with_effect()] == [True, False]
    assert len(await database.fetch("SELECT * FROM effects")) == 1


async def test_a_failure_is_due_again_after_its_wait_and_keeps_its_head_start(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job(priority=Priority.HIGH))
    retry = Outcome(claim.id, 1, State.QUEUED, error={"code": "bug"}, retry_in_s=300, failed=True)
    await finish(database, worker_id, [retry])
    (row,) = await database.fetch(
        "SELECT state, failures, due_at - now() > interval '290 s', due_at - rank, errors -> 0 ->> 'code'"
        " FROM ledger.jobs"
    )
    assert tuple(row) == ("scheduled", 1, True, timedelta(seconds=900), "bug")


async def test_a_job_of_the_past_waits_since_it_was_accepted(database: Database) -> None:
    """Neither its wait nor its head start counts from the `run_at` that was asked for."""
    worker_id = await worker(database)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    (claim,) = await claimed(database, worker_id, new_job(priority=Priority.LOW, run_at=yesterday))
    assert 0 <= claim.waited_s < 3_600
    await finish(database, worker_id, [Outcome(claim.id, 1, State.QUEUED, retry_in_s=300, failed=True)])
    ((head_start,),) = await database.fetch("SELECT due_at - rank FROM ledger.jobs")
    assert abs(head_start) < timedelta(minutes=1)


async def test_a_release_is_queued_at_once_and_costs_nothing(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    await finish(database, worker_id, [Outcome(claim.id, 1, State.QUEUED)])
    (row,) = await database.fetch("SELECT state, attempt, failures, ticketed_at, worker FROM ledger.jobs")
    assert tuple(row) == ("queued", 1, 0, None, None)


async def test_many_ends_are_written_at_once_and_a_lost_one_spoils_no_other(database: Database) -> None:
    worker_id = await worker(database)
    good, lost, failed = await claimed(database, worker_id, new_job(), new_job(), new_job())
    outcomes = [
        Outcome(good.id, 1, State.SUCCEEDED),
        Outcome(lost.id, 7, State.SUCCEEDED),
        Outcome(failed.id, 1, State.FAILED, error={"code": "bug"}, failed=True),
        Outcome(new_id(), 1, State.SUCCEEDED),
    ]
    assert await finish(database, worker_id, outcomes) == [True, False, True, False]
    assert [await state_of(database, one.id) for one in (good, lost, failed)] == ["succeeded", "running", "failed"]
    assert await unaccounted(database) == {"q": 0}


async def test_a_job_that_is_put_off_has_all_its_tries_again(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    await database.fetch("UPDATE ledger.jobs SET failures = 2, crashes = 1")
    await finish(database, worker_id, [Outcome(claim.id, 1, State.QUEUED, retry_in_s=60, snoozed=True)])
    (row,) = await database.fetch("SELECT state, failures, crashes FROM ledger.jobs")
    assert tuple(row) == ("scheduled", 0, 0)


async def test_of_very_many_failures_the_latest_are_kept(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    await database.fetch(
        "UPDATE ledger.jobs SET errors = (SELECT jsonb_agg(jsonb_build_object('code', n::text))"
        " FROM generate_series(1, 50) n)"
    )
    await finish(database, worker_id, [Outcome(claim.id, 1, State.FAILED, error={"code": "last"}, failed=True)])
    found = await jobs.find(database, "dev", claim.id)
    assert found is not None
    assert found["errors"] is not None
    assert [error["code"] for error in found["errors"]] == [*(str(n) for n in range(2, 51)), "last"]
    assert found["errors"][-1].keys() == {"code", "at", "attempt"}


async def test_the_bytes_of_artifacts_are_accounted_for(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job(bytes=100))
    artifacts = [{"name": "a", "size": 5}, {"name": "b", "size": 6}]
    await finish(database, worker_id, [Outcome(claim.id, 1, State.SUCCEEDED, artifacts=artifacts)])
    assert await consistency_check.stored_bytes(database) == 111


async def test_a_payload_can_be_forgotten_but_not_changed(database: Database, mail_database: Database) -> None:
    worker_id = await worker(mail_database, queue="mailer")
    (claim,) = await leases.claim(mail_database, worker_id, await accepted(database, new_job(queue="mailer")))
    for changing in (database, mail_database):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="payload"):
            await changing.fetch("""UPDATE ledger.jobs SET payload = '{"n": 2}'""")
    async with mail_database.begin() as connection:
        end = Outcome(claim.id, claim.attempt, State.SUCCEEDED)
        assert await finish_within(connection, worker_id, end, forget_payload=True)
    assert (await database.fetch("SELECT payload FROM ledger.jobs"))[0][0] == {}

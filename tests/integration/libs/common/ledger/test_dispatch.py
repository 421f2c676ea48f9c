"""What brings jobs back to their queues: due times, lost tickets, dead workers."""

from datetime import UTC, datetime, timedelta

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import dispatch, jobs
from libs.common.ledger.accept import accept
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    claimed,
    die,
    new_job,
    state_of,
    ticket,
    worker,
)


async def test_jobs_become_due(database: Database) -> None:
    later, soon = new_job(run_at=datetime.now(UTC) + timedelta(hours=1)), new_job()
    answers = await accept(database, [later, soon], ticketed=[True, False])
    assert [answer.state for answer in answers] == ["scheduled", "queued"]
    assert await dispatch.promote_due(database) == 0
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", later.id)
    assert await dispatch.promote_due(database) == 1
    assert await state_of(database, later.id) == "queued"


async def test_lost_tickets_are_those_older_than_the_oldest_on_the_conveyor(database: Database) -> None:
    lost, held = await accepted(database, new_job(), new_job())
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() - interval '1 min' WHERE id = $1", lost)
    thirty_s_ago = datetime.now(UTC) - timedelta(seconds=30)
    assert await dispatch.reissue_lost_tickets(database, "q", thirty_s_ago, 3, 10) == [lost]
    assert await dispatch.reissue_lost_tickets(database, "q", thirty_s_ago, 3, 10) == []
    assert await dispatch.reissue_lost_tickets(database, "q", None, 0, 10) == sorted([lost, held])


async def test_jobs_of_a_dead_worker_go_back_and_cost_no_retry(database: Database) -> None:
    dead, living = await worker(database), await worker(database)
    (stranded,) = await claimed(database, dead, new_job())
    (safe,) = await claimed(database, living, new_job())
    await die(database, dead)
    assert await dispatch.recover(database) == 1
    assert await state_of(database, stranded.id) == "queued"
    assert await state_of(database, safe.id) == "running"
    (row,) = await database.fetch("SELECT failures, crashes FROM ledger.jobs WHERE id = $1", stranded.id)
    assert tuple(row) == (0, 1)


async def test_a_job_that_kills_its_worker_three_times_is_poison(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    for _ in range(dispatch.POISON_AFTER_CRASHES):
        victim = await worker(database)
        await ticket(database, job_id)
        assert len(await leases.claim(database, victim, [job_id])) == 1
        await die(database, victim)
        await dispatch.recover(database)
    facts = await jobs.find(database, "dev", job_id)
    assert facts is not None
    assert (facts["state"], facts["error"]["code"]) == ("failed", "poison")

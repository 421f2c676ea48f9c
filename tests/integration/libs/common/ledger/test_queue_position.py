"""Why a job is not running: who goes before it, and what holds them."""

from typing import Any
from uuid import UUID

from libs.common.db import Database
from libs.common.ledger import queues
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import Priority, State, new_id
from libs.common.ledger.queue_position import queue_position
from tests.integration.libs.common.ledger.job_lifecycle import accepted, claimed, end, new_job, worker


async def position(database: Database, job_id: UUID) -> dict[str, Any]:
    found = await queue_position(database, "dev", job_id)
    assert found is not None
    return found


async def test_only_jobs_of_the_same_tenant_and_queue_and_of_a_better_rank_are_ahead(database: Database) -> None:
    job = new_job()
    ahead = [new_job(priority=Priority.HIGH), new_job(priority=Priority.HIGH)]
    others = [new_job(tenant="other"), new_job(queue="other"), new_job(priority=Priority.LOW)]
    await accept(database, [*ahead, *others, job], ticketed=[False] * 6)
    assert (await position(database, job.id))["ahead"] == 2
    assert (await position(database, others[-1].id))["ahead"] == 3


async def test_what_is_handed_out_or_runs_is_told_apart(database: Database) -> None:
    worker_id = await worker(database)
    (running,) = await claimed(database, worker_id, new_job())
    (handed_out,) = await accepted(database, new_job())
    job = new_job()
    await accept(database, [job], ticketed=[False])
    found = await position(database, job.id)
    assert (found["tickets_ahead"], found["running"], found["held"]) == (1, 1, 2)
    assert sorted(found["holding"]) == sorted([running.id, handed_out])
    assert (found["workers"], found["slots"]) == (1, 9)
    of_the_other = await position(database, handed_out)
    assert (of_the_other["ahead"], of_the_other["tickets_ahead"]) == (None, 0)


async def test_pauses_and_caps_of_its_queue_are_told(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    await queues.set_cap(database, "q", "max_running", 3)
    await queues.pause(database, "q")
    found = await position(database, job_id)
    assert found["paused_at"] is not None
    assert (found["max_running"], found["max_running_per_tenant"]) == (3, None)


async def test_a_job_that_has_ended_has_no_place_but_its_error(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    await end(database, [job_id], State.FAILED, code="bad")
    found = await position(database, job_id)
    assert (found["ahead"], found["tickets_ahead"], found["holding"]) == (None, None, None)
    assert found["error"]["code"] == "bad"


async def test_anothers_job_has_no_place_to_be_seen(database: Database) -> None:
    (theirs,) = await accepted(database, new_job(tenant="other"))
    assert await queue_position(database, "dev", theirs) is None
    assert await queue_position(database, "dev", new_id()) is None


async def test_its_tenants_share_and_how_often_it_gave_way_are_told(database: Database) -> None:
    worker_id = await worker(database, slots=6)
    (running, _) = await claimed(database, worker_id, new_job(), new_job())
    await accepted(database, new_job(tenant="other"))
    await database.fetch("UPDATE ledger.jobs SET preempted = ARRAY[0, 1] WHERE id = $1", running.id)
    found = await position(database, running.id)
    assert found["share"] == {"slots": 3, "of": 6, "held": 2}
    assert (found["preempted"], found["gives_way"], found["shared"]) == (2, True, False)
    await database.fetch("INSERT INTO ledger.queues (name, shared_until) VALUES ('q', now() + interval '1 min')")
    assert (await position(database, running.id))["shared"]

"""The life of a job in the ledger: accept, claim, lease, finish, dispatch; and the fence."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import dispatch, jobs
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.jobs import Filter, NewJob, Priority, State, new_id
from libs.common.ledger.picking import pick


def new_job(**changes: object) -> NewJob:
    facts = {"tenant": "dev", "created_by": "key", "queue": "q", "kind": "k", "payload": b'{"n": 1}'} | changes
    return NewJob(**facts)  # type: ignore[arg-type]


async def accepted(database: Database, *new: NewJob) -> list[UUID]:
    await accept(database, new, ticketed=[True] * len(new))
    return [job.id for job in new]


async def worker(database: Database, queue: str = "q", slots: int = 3) -> UUID:
    worker_id = new_id()
    await leases.register(database, worker_id, queue=queue, slots=slots, host="h", pid=1)
    return worker_id


async def claimed(database: Database, worker_id: UUID, *new: NewJob) -> list[Claim]:
    return await leases.claim(database, worker_id, await accepted(database, *new))


async def ticket(database: Database, *ids: UUID) -> None:
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = ANY($1)", ids)


async def state_of(database: Database, job_id: UUID) -> str:
    rows = await database.fetch("SELECT state FROM ledger.jobs WHERE id = $1", job_id)
    return str(rows[0][0])


async def picked(database: Database, wanted: int) -> list[UUID]:
    ids, _last = await pick(database, "q", wanted, await dispatch.demand(database, "q"))
    return ids


async def die(database: Database, worker_id: UUID) -> None:
    await database.fetch(
        "UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour' WHERE id = $1", worker_id
    )


async def test_accepting_the_same_jobs_again_changes_nothing(database: Database) -> None:
    batch = [new_job(), new_job(tags=("a", "b"))]
    first = await accept(database, batch, ticketed=[True, True])
    again = await accept(database, [*batch, new_job()], ticketed=[True, True, True])
    assert again[:2] == first
    assert [row[0] for row in await database.fetch("SELECT count(*) FROM ledger.jobs")] == [3]


async def test_accept_answers_in_the_order_asked(database: Database) -> None:
    batch = [new_job() for _ in range(50)]
    batch.reverse()
    answers = await accept(database, batch, ticketed=[False] * 50)
    assert [answer.id for answer in answers] == [job.id for job in batch]


async def test_only_one_of_many_workers_gets_a_job(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(20)))
    workers = [await worker(database) for _ in range(5)]
    claims = await asyncio.gather(*(leases.claim(database, one, ids) for one in workers))
    assert sorted(claim.id for batch in claims for claim in batch) == sorted(ids)


async def test_a_claim_knows_the_job(database: Database) -> None:
    (claim,) = await claimed(database, await worker(database), new_job(max_attempts=2, timeout_s=7.0, trace="t"))
    assert (claim.attempt, claim.failures, claim.max_attempts, claim.timeout_s) == (1, 0, 2, 7.0)
    assert (claim.tenant, claim.kind, claim.payload, claim.trace) == ("dev", "k", '{"n": 1}', "t")
    assert claim.waited_s >= 0


async def test_a_worker_that_was_struck_out_claims_nothing(database: Database) -> None:
    worker_id = await worker(database)
    await leases.deregister(database, worker_id)
    assert await claimed(database, worker_id, new_job()) == []


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
    assert await dispatch.recover(database) == 1
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


async def test_a_release_is_queued_at_once_and_costs_nothing(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    await finish(database, worker_id, [Outcome(claim.id, 1, State.QUEUED)])
    (row,) = await database.fetch("SELECT state, attempt, failures, ticketed_at, worker FROM ledger.jobs")
    assert tuple(row) == ("queued", 1, 0, None, None)


async def test_jobs_become_due(database: Database) -> None:
    later, soon = new_job(run_at=datetime.now(UTC) + timedelta(hours=1)), new_job()
    answers = await accept(database, [later, soon], ticketed=[True, False])
    assert [answer.state for answer in answers] == ["scheduled", "queued"]
    assert await dispatch.promote_due(database) == 0
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", later.id)
    assert await dispatch.promote_due(database) == 1
    assert await state_of(database, later.id) == "queued"


async def test_waiting_jobs_come_in_order_of_rank_and_only_once(database: Database) -> None:
    low, normal, high = (new_job(priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH))
    await accept(database, [low, normal, high], ticketed=[False] * 3)
    assert await picked(database, 2) == [high.id, normal.id]
    assert await picked(database, 2) == [low.id]
    assert await picked(database, 2) == []


async def test_an_old_low_priority_overtakes_a_young_high_one(database: Database) -> None:
    old, young = new_job(priority=Priority.LOW), new_job(priority=Priority.HIGH)
    await accept(database, [old, young], ticketed=[False, False])
    await database.fetch("UPDATE ledger.jobs SET rank = rank - interval '16 min' WHERE id = $1", old.id)
    assert await picked(database, 2) == [old.id, young.id]


async def test_dispatchers_do_not_take_the_same_jobs(database: Database) -> None:
    await accept(database, [new_job() for _ in range(100)], ticketed=[False] * 100)
    taken: Sequence[list[UUID]] = await asyncio.gather(*(picked(database, 30) for _ in range(4)))
    flat = [job_id for batch in taken for job_id in batch]
    assert len(flat) == len(set(flat))


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
    assert facts["error"] is not None
    assert (facts["state"], facts["error"]["code"]) == ("failed", "poison")


async def test_a_heartbeat_tells_what_the_ledger_believes(database: Database) -> None:
    worker_id = await worker(database)
    old, young = await claimed(database, worker_id, new_job(), new_job())
    await database.fetch("UPDATE ledger.jobs SET started_at = now() - interval '1 min' WHERE id = $1", old.id)
    lease = await leases.heartbeat(database, worker_id)
    assert lease is not None
    assert lease.held == {(old.id, 1), (young.id, 1)}
    assert lease.settled == {(old.id, 1)}
    await die(database, worker_id)
    await dispatch.recover(database)
    assert await leases.heartbeat(database, worker_id) is None


async def test_progress_is_kept_for_the_holder_only(database: Database) -> None:
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job())
    await leases.store_progress(database, worker_id, {(claim.id, 1): {"done": 3}})
    await leases.store_progress(database, worker_id, {(claim.id, 0): {"done": 1}})
    await leases.store_progress(database, new_id(), {(claim.id, 1): {"done": 2}})
    facts = await jobs.find(database, "dev", claim.id)
    assert facts is not None
    assert facts["progress"] == {"done": 3}


async def test_tenants_do_not_see_each_others_jobs(database: Database) -> None:
    mine, theirs = await accepted(database, new_job(), new_job(tenant="other"))
    assert await jobs.find(database, "dev", theirs) is None
    assert [facts["id"] for facts in await jobs.page(database, "dev", Filter())] == [mine]


async def test_pages_are_newest_first_and_complete(database: Database) -> None:
    ids = await accepted(database, *(new_job(tags=("odd",) if number % 2 else ()) for number in range(7)))
    seen: list[UUID] = []
    before = None
    while page := await jobs.page(database, "dev", Filter(), before=before, limit=3):
        seen += [facts["id"] for facts in page]
        before = seen[-1]
    assert seen == sorted(ids, reverse=True)
    assert len(await jobs.page(database, "dev", Filter(tag="odd"))) == 3
    assert len(await jobs.page(database, "dev", Filter(states=(State.RUNNING,)))) == 0
    assert len(await jobs.page(database, "dev", Filter(queue="elsewhere"))) == 0

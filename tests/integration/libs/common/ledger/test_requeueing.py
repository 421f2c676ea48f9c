"""What brings jobs back to their queues: due times, lost tickets, dead workers."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import jobs, queues, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.requeueing import Demand
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
    assert await requeueing.promote_due(database) == 0
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE id = $1", later.id)
    assert await requeueing.promote_due(database) == 1
    assert await state_of(database, later.id) == "queued"


async def test_lost_tickets_are_those_older_than_the_oldest_on_the_conveyor(database: Database) -> None:
    lost, held = await accepted(database, new_job(), new_job())
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() - interval '1 min' WHERE id = $1", lost)
    assert await requeueing.reissue_lost_tickets(database, "q", 30.0, 3, 10) == [lost]
    assert await requeueing.reissue_lost_tickets(database, "q", 30.0, 3, 10) == []
    assert await requeueing.reissue_lost_tickets(database, "q", None, 0, 10) == sorted([lost, held])


async def test_jobs_of_a_dead_worker_go_back_and_cost_no_retry(database: Database) -> None:
    dead, living = await worker(database), await worker(database)
    (stranded,) = await claimed(database, dead, new_job())
    (safe,) = await claimed(database, living, new_job())
    await die(database, dead)
    assert await requeueing.recover(database) == requeueing.Recovered(1, Counter())
    assert await state_of(database, stranded.id) == "queued"
    assert await state_of(database, safe.id) == "running"
    (row,) = await database.fetch("SELECT failures, crashes FROM ledger.jobs WHERE id = $1", stranded.id)
    assert tuple(row) == (0, 1)


async def test_a_job_that_kills_its_worker_three_times_is_poison(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    for _ in range(requeueing.POISON_AFTER_CRASHES):
        victim = await worker(database)
        await ticket(database, job_id)
        assert len(await leases.claim(database, victim, [job_id])) == 1
        await die(database, victim)
        recovered = await requeueing.recover(database)
        assert recovered.jobs == 1
    assert list(recovered.poisoned.values()) == [1], "only the last time"
    facts = await jobs.find(database, "dev", job_id)
    assert facts is not None
    assert facts["error"] is not None
    assert (facts["state"], facts["error"]["code"]) == ("failed", "poison")


async def test_demand_is_what_waits_who_works_and_what_is_allowed(database: Database) -> None:
    assert await requeueing.demand(database, "q") == Demand(False, 0, False, None, None)
    await accept(database, [new_job()], ticketed=[False])
    await worker(database, slots=3)
    await worker(database, slots=4)
    await worker(database, queue="other")
    demand = await requeueing.demand(database, "q")
    assert (demand.backlog, demand.slots, demand.capped) == (True, 7, False)
    await queues.set_cap(database, "q", "max_running_per_tenant", 2)
    await queues.pause(database, "q")
    demand = await requeueing.demand(database, "q")
    assert (demand.paused, demand.capped, demand.max_running_per_tenant) == (True, True, 2)


async def test_a_job_whose_ticket_is_out_is_no_backlog(database: Database) -> None:
    await accepted(database, new_job())
    assert not (await requeueing.demand(database, "q")).backlog


async def test_many_dispatchers_recover_and_promote_each_job_once(database: Database) -> None:
    dead = await worker(database)
    await claimed(database, dead, *(new_job() for _ in range(50)))
    later = [new_job(run_at=datetime.now(UTC) + timedelta(hours=1)) for _ in range(50)]
    await accept(database, later, ticketed=[False] * 50)
    await database.fetch("UPDATE ledger.jobs SET due_at = now() WHERE state = 'scheduled'")
    await die(database, dead)
    recovered = await asyncio.gather(*(requeueing.recover(database) for _ in range(4)))
    assert sum(some.jobs for some in recovered) == 50
    assert sum(await asyncio.gather(*(requeueing.promote_due(database) for _ in range(4)))) == 50
    assert (await requeueing.recover(database)).jobs == await requeueing.promote_due(database) == 0
    rows = await database.fetch("SELECT state, crashes, count(*) FROM ledger.jobs GROUP BY 1, 2 ORDER BY 2")
    assert [tuple(row) for row in rows] == [("queued", 0, 50), ("queued", 1, 50)]


async def test_lost_tickets_are_few_at_a_time_and_of_one_queue(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(3)), new_job(queue="other"))
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() - interval '1 min'")
    first = await requeueing.reissue_lost_tickets(database, "q", None, 1, 2)
    second = await requeueing.reissue_lost_tickets(database, "q", None, 1, 2)
    assert (len(first), len(second)) == (2, 1)
    assert sorted(first + second) == sorted(ids[:3])

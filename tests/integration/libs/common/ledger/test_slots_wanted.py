"""How many slots a queue could use: caps, pauses and jobs that cannot run yet want none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import queues, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, new_id
from libs.common.ledger.picking import pick
from libs.common.ledger.slots_wanted import COUNTED_AT_MOST, slots_wanted


async def waiting(database: Database, tenant: str, number: int, queue: str = "q") -> None:
    jobs = [NewJob(tenant, "key", queue, "k", b"{}") for _ in range(number)]
    await accept(database, jobs, ticketed=[False] * number)


async def running(database: Database, number: int) -> None:
    """Run `number` of the jobs that wait in queue q."""
    worker = new_id()
    await leases.register(database, worker, queue="q", slots=number, host="h", pid=1)
    ids, _ = await pick(database, "q", number, await requeueing.demand(database, "q"))
    assert len(await leases.claim(database, worker, ids)) == number


async def wanted(database: Database, queue: str = "q") -> int:
    return (await slots_wanted(database, [queue]))[queue]


async def test_an_empty_queue_wants_none(database: Database) -> None:
    assert await slots_wanted(database, ["q", "other"]) == {"q": 0, "other": 0}


async def test_what_runs_what_has_a_ticket_and_what_waits_wants_a_slot_each(database: Database) -> None:
    await waiting(database, "a", 5)
    await waiting(database, "b", 2)
    await waiting(database, "b", 3, "other")
    await running(database, 2)
    await pick(database, "q", 1, await requeueing.demand(database, "q"))
    assert await slots_wanted(database, ["q", "other"]) == {"q": 7, "other": 3}


async def test_a_paused_queue_wants_only_what_runs(database: Database) -> None:
    await waiting(database, "a", 5)
    await running(database, 2)
    await queues.pause(database, "q")
    assert await wanted(database) == 2


async def test_a_cap_bounds_it(database: Database) -> None:
    await waiting(database, "a", 5)
    await running(database, 1)
    await queues.set_cap(database, "q", "max_running", 3)
    assert await wanted(database) == 3


async def test_a_cap_of_each_tenant_bounds_it_by_tenant(database: Database) -> None:
    await queues.set_cap(database, "q", "max_running_per_tenant", 2)
    await waiting(database, "a", 50)
    await waiting(database, "b", 1)
    assert await wanted(database) == 3
    await running(database, 3)
    assert await wanted(database) == 3
    await waiting(database, "c", 9)
    assert await wanted(database) == 5
    await queues.set_cap(database, "q", "max_running", 4)
    assert await wanted(database) == 4


async def test_what_may_not_start_yet_wants_none(database: Database) -> None:
    later = replace(NewJob("a", "key", "q", "k", b"{}"), run_at=datetime.now(UTC) + timedelta(hours=1))
    await accept(database, [later], ticketed=[False])
    assert await wanted(database) == 0


async def test_a_long_backlog_is_not_counted_to_its_end(database: Database) -> None:
    await waiting(database, "a", COUNTED_AT_MOST)
    await waiting(database, "b", 7)
    assert await wanted(database) == COUNTED_AT_MOST

"""Fair order and caps: who comes next, whatever the backlog."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.common.db import Database, fetch_within
from libs.common.ledger import claim as leases
from libs.common.ledger import queues, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob, Priority, new_id
from libs.common.ledger.picking import Picked, pick
from tests.integration.libs.common.ledger.job_lifecycle import long_backlog, new_job


async def waiting(database: Database, tenant: str, number: int = 1, **changes: object) -> list[UUID]:
    jobs = [NewJob(tenant, "key", "q", "k", b"{}", **changes) for _ in range(number)]  # type: ignore[arg-type]
    await accept(database, jobs, ticketed=[False] * number)
    return [job.id for job in jobs]


async def picked(database: Database, wanted: int, after: str = "") -> Picked:
    return await pick(database, "q", wanted, await requeueing.demand(database, "q"), after=after)


async def tenants_of(database: Database, ids: Sequence[UUID]) -> list[str]:
    rows = await database.fetch("SELECT id, tenant FROM ledger.jobs WHERE id = ANY($1)", ids)
    tenants = {row[0]: row[1] for row in rows}
    return [tenants[job_id] for job_id in ids]


async def test_tenants_take_turns_however_much_one_has_waiting(database: Database) -> None:
    await waiting(database, "a", 100)
    await waiting(database, "b", 2)
    await waiting(database, "c", 1)
    ids, _ = await picked(database, 6)
    assert await tenants_of(database, ids) == ["a", "b", "c", "a", "b", "a"]


async def test_the_room_others_leave_is_used(database: Database) -> None:
    await waiting(database, "a", 100)
    for number in range(9):
        await waiting(database, f"small{number}", 1)
    ids, _ = await picked(database, 50)
    assert Counter(await tenants_of(database, ids))["a"] == 41


async def test_with_less_room_than_tenants_the_round_goes_on_where_it_stopped(database: Database) -> None:
    for tenant in "abcde":
        await waiting(database, tenant, 3)
    seen, last = [], ""
    for _ in range(5):
        ids, last = await picked(database, 2, last)
        seen += await tenants_of(database, ids)
    assert Counter(seen) == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 2}
    assert seen[:5] == list("abcde")


async def test_within_a_tenant_rank_decides(database: Database) -> None:
    (low,) = await waiting(database, "a", priority=Priority.LOW)
    (high,) = await waiting(database, "a", priority=Priority.HIGH)
    assert (await picked(database, 2)).ids == [high, low]


async def test_a_time_in_the_past_overtakes_nobody(database: Database) -> None:
    """Among what is due priority decides, and within a priority who came first."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    (normal,) = await waiting(database, "a")
    (low,) = await waiting(database, "a", priority=Priority.LOW, run_at=yesterday - timedelta(days=365))
    late = await waiting(database, "a", 20, run_at=yesterday)
    (high,) = await waiting(database, "a", priority=Priority.HIGH)
    assert (await picked(database, 30)).ids == [high, normal, *late, low]


async def test_a_tenants_cap_counts_what_runs_and_what_is_handed_out(database: Database) -> None:
    await queues.set_cap(database, "q", "max_running_per_tenant", 2)
    await waiting(database, "a", 5)
    await waiting(database, "b", 1)
    ids, _ = await picked(database, 10)
    assert sorted(await tenants_of(database, ids)) == ["a", "a", "b"]
    worker = new_id()
    await leases.register(database, worker, queue="q", slots=9, host="h", pid=1)
    assert len(await leases.claim(database, worker, ids)) == 3
    assert (await picked(database, 10)).ids == []


async def test_caps_hold_however_many_dispatchers_pick_at_once(database: Database) -> None:
    await queues.set_cap(database, "q", "max_running", 7)
    await queues.set_cap(database, "q", "max_running_per_tenant", 3)
    for tenant in "abcd":
        await waiting(database, tenant, 20)
    ids: list[UUID] = []
    for _ in range(4):
        rounds = await asyncio.gather(*(picked(database, 5) for _ in range(8)))
        ids += [job_id for one in rounds for job_id in one.ids]
    assert len(ids) == len(set(ids)) == 7
    assert max(Counter(await tenants_of(database, ids)).values()) <= 3


async def test_a_full_tenant_does_not_stand_in_the_way_of_others(database: Database) -> None:
    await queues.set_cap(database, "q", "max_running_per_tenant", 1)
    for tenant in "abc":
        await waiting(database, tenant, 3)
    last = ""
    taken: list[UUID] = []
    for _ in range(4):  # one place at a time
        ids, last = await picked(database, 1, last)
        taken += ids
    assert sorted(await tenants_of(database, taken)) == ["a", "b", "c"]


@pytest.mark.parametrize("tenants", [1, 400])
async def test_a_pick_reads_the_index_only_as_far_as_it_needs(database: Database, tenants: int) -> None:
    await long_backlog(database, tenants)
    reads = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'jobs_waiting'"
    (before,) = await database.fetch(reads)
    assert len((await picked(database, 50)).ids) == 50

    async def read() -> int:
        await database.fetch("SELECT pg_stat_force_next_flush()")
        (after,) = await database.fetch(reads)
        return int(after[0] - before[0])

    assert 50 <= await read() <= 500


async def test_a_pause_calls_tickets_in_and_refuses_claims_until_it_ends(database: Database) -> None:
    ids = await waiting(database, "a", 3)
    (out, _) = await picked(database, 2)
    worker = new_id()
    await leases.register(database, worker, queue="q", slots=9, host="h", pid=1)
    await queues.pause(database, "q")
    assert await leases.claim(database, worker, out) == []
    await queues.resume(database, "q")
    assert await leases.claim(database, worker, out) == []  # their tickets were called in
    again, _ = await picked(database, 10)
    assert sorted(again) == sorted(ids)
    assert len(await leases.claim(database, worker, again)) == 3


async def test_a_cap_holds_for_tickets_that_were_out_before(database: Database) -> None:
    jobs = [NewJob("a", "key", "q", "k", b"{}") for _ in range(20)]
    await accept(database, jobs, ticketed=[True] * 20)
    await queues.set_cap(database, "q", "max_running", 1)
    worker = new_id()
    await leases.register(database, worker, queue="q", slots=100, host="h", pid=1)
    assert await leases.claim(database, worker, [job.id for job in jobs]) == []
    assert len((await picked(database, 100)).ids) == 1


async def test_many_full_tenants_do_not_hide_the_one_with_room(database: Database) -> None:
    await queues.set_cap(database, "q", "max_running_per_tenant", 1)
    for number in range(40):
        await waiting(database, f"full{number:02}", 2)
    assert len((await picked(database, 100)).ids) == 40
    (wanted,) = await waiting(database, "zoe")
    assert (await picked(database, 8)).ids == [wanted]


async def test_a_dispatcher_that_froze_in_the_middle_holds_up_nobody_else(database: Database) -> None:
    await waiting(database, "a")
    async with database.begin() as frozen:
        await fetch_within(frozen, "SELECT pg_advisory_xact_lock(hashtextextended('pick ' || $1, 0))", "q")
        assert (await picked(database, 1)).ids == []  # at once, not after a time-out
    assert len((await picked(database, 1)).ids) == 1


async def test_waiting_jobs_come_in_order_of_rank_and_only_once(database: Database) -> None:
    low, normal, high = (new_job(priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH))
    await accept(database, [low, normal, high], ticketed=[False] * 3)
    assert (await picked(database, 2)).ids == [high.id, normal.id]
    assert (await picked(database, 2)).ids == [low.id]
    assert (await picked(database, 2)).ids == []


async def test_an_old_low_priority_overtakes_a_young_high_one(database: Database) -> None:
    old, young = new_job(priority=Priority.LOW), new_job(priority=Priority.HIGH)
    await accept(database, [old, young], ticketed=[False, False])
    await database.fetch("UPDATE ledger.jobs SET rank = rank - interval '16 min' WHERE id = $1", old.id)
    assert (await picked(database, 2)).ids == [old.id, young.id]


async def test_dispatchers_do_not_take_the_same_jobs(database: Database) -> None:
    await accept(database, [new_job() for _ in range(100)], ticketed=[False] * 100)
    taken = await asyncio.gather(*(picked(database, 30) for _ in range(4)))
    flat = [job_id for batch in taken for job_id in batch.ids]
    assert len(flat) == len(set(flat))

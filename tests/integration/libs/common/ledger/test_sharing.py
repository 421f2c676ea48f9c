"""Sharing on a real ledger: when it begins and ends, who gets the slots, and what becomes of who gives way."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import flows, job_actions, queues, requeueing, sharing
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import Claim
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import NewJob, State
from libs.common.ledger.picking import PREEMPTED_AT_MOST, pick
from libs.common.ledger.sharing import Balanced
from tests.integration.libs.common.ledger.job_lifecycle import die, end, long_backlog, new_job, unaccounted, worker


async def handed_in(database: Database, tenant: str, number: int = 1, *, ticketed: bool = True) -> list[UUID]:
    """New jobs that have waited for a minute."""
    new = [new_job(tenant=tenant) for _ in range(number)]
    await accept(database, new, ticketed=[ticketed] * number)
    ids = [job.id for job in new]
    await aged(database, ids)
    return ids


async def aged(database: Database, ids: Sequence[UUID]) -> None:
    """They have waited, or run, a minute longer."""
    await database.fetch(
        """UPDATE ledger.jobs SET created_at = created_at - interval '1 min',
             due_at = due_at - interval '1 min', ticketed_at = ticketed_at - interval '1 min',
                                  started_at = started_at - interval '1 min' WHERE id = ANY($1)""",
        ids,
    )


async def balanced(database: Database, *, preempting: bool = True) -> Balanced:
    now = await requeueing.demand(database, "q")
    return await sharing.balance(database, "q", now, preempting=preempting)


async def picked(database: Database, wanted: int = 100) -> list[str]:
    """The tenants of the jobs that get tickets."""
    ids, _ = await pick(database, "q", wanted, await requeueing.demand(database, "q"))
    rows = await database.fetch("SELECT tenant FROM ledger.jobs WHERE id = ANY($1)", ids)
    return [row[0] for row in rows]


async def flooded(database: Database, slots: int = 2) -> tuple[UUID, list[Claim]]:
    """All slots have run a job of `flood` for more than a minute, the later ones for less; many more wait."""
    worker_id = await worker(database, slots=slots)
    claims = []
    for _ in range(slots):
        held = await leases.claim(database, worker_id, await handed_in(database, "flood"))
        claims += held
        await aged(database, [claim.id for claim in claims])
    await handed_in(database, "flood", 8)
    return worker_id, claims


async def test_the_youngest_job_gives_way_and_the_other_tenants_is_next(database: Database) -> None:
    worker_id, claims = await flooded(database)
    (other,) = await handed_in(database, "other")
    assert await balanced(database) == Balanced(begun=True)
    assert await picked(database) == [], "no slot is free, so all tickets are in"
    assert await leases.claim(database, worker_id, [other]) == []
    youngest = (claims[1].id, claims[1].attempt)
    assert await balanced(database) == Balanced(asked=[youngest])
    assert await balanced(database) == Balanced(), "one is enough"
    lease = await leases.heartbeat(database, worker_id)
    assert lease is not None
    assert lease.preempted == {youngest}
    assert await picked(database) == [], "its slot is not free yet"
    assert await finish(database, worker_id, [Outcome(*youngest, State.QUEUED)]) == [True]
    (row,) = await database.fetch(
        "SELECT state, failures, crashes, errors, preempted FROM ledger.jobs WHERE id = $1", claims[1].id
    )
    assert tuple(row) == ("queued", 0, 0, None, [1])
    assert await picked(database) == ["other"]
    assert [claim.id for claim in await leases.claim(database, worker_id, [other])] == [other]
    assert await balanced(database) == Balanced(), "each has its share"
    assert set((await unaccounted(database)).values()) == {0}


async def test_a_slot_of_either_goes_to_the_one_that_has_fewer(database: Database) -> None:
    worker_id, claims = await flooded(database, slots=3)
    await handed_in(database, "other", 5)
    assert (await balanced(database)).begun
    await finish(database, worker_id, [Outcome(claims[0].id, 1, State.SUCCEEDED)])
    assert await picked(database) == ["other"]
    await finish(database, worker_id, [Outcome(claims[1].id, 1, State.SUCCEEDED)])
    assert await picked(database) == ["flood"], "a ticket counts as a slot, and the turn is with the other"
    assert await picked(database) == []


async def test_slots_that_the_others_leave_are_used(database: Database) -> None:
    _, claims = await flooded(database, slots=4)
    await handed_in(database, "other")
    assert (await balanced(database)).begun
    await end_all(database, claims)
    assert Counter(await picked(database)) == {"flood": 3, "other": 1}


async def end_all(database: Database, claims: Sequence[Claim]) -> None:
    rows = await database.fetch("SELECT id FROM ledger.workers")
    outcomes = [Outcome(claim.id, claim.attempt, State.SUCCEEDED) for claim in claims]
    assert all(await finish(database, rows[0][0], outcomes))


async def test_a_tenant_alone_is_never_asked(database: Database) -> None:
    await flooded(database)
    assert await balanced(database) == Balanced()
    assert not (await requeueing.demand(database, "q")).shared


async def test_nobody_is_asked_where_handlers_cannot_be_stopped(database: Database) -> None:
    await flooded(database)
    await handed_in(database, "other")
    assert (await balanced(database, preempting=False)).begun
    assert await balanced(database, preempting=False) == Balanced()


async def test_a_shared_queue_has_no_fast_ways_past_the_turn(database: Database) -> None:
    worker_id, claims = await flooded(database)
    await handed_in(database, "other")
    assert (await balanced(database)).begun
    assert (await requeueing.demand(database, "q")).capped
    await end_waiting(database)
    tickets = await flows.fan_out(database, worker_id, claims[0].id, 1, [NewChild("page", b"{}")], {})
    assert tickets == []


async def end_waiting(database: Database) -> None:
    rows = await database.fetch("SELECT id, tenant FROM ledger.jobs WHERE state = 'queued'")
    for row in rows:
        await job_actions.cancel(database, row[1], row[0])


async def test_it_ends_by_itself_when_nobody_has_to_wait(database: Database) -> None:
    await flooded(database)
    await handed_in(database, "other")
    assert (await balanced(database)).begun
    await database.fetch("UPDATE ledger.queues SET shared_until = now() + interval '1 s'")
    await balanced(database)
    left = "SELECT extract(epoch FROM shared_until - now()) FROM ledger.queues"
    assert (await database.fetch(left))[0][0] > 5, "it goes on while it is needed"
    await end_waiting(database)
    await database.fetch("UPDATE ledger.queues SET shared_until = now() - interval '1 s'")
    await balanced(database)
    assert not (await requeueing.demand(database, "q")).shared


async def test_a_job_gives_way_three_times_and_its_tenant_has_then_one_slot(database: Database) -> None:
    worker_id, claims = await flooded(database, slots=3)
    await database.fetch("UPDATE ledger.jobs SET preempted = ARRAY[-2, -1, 0] WHERE id = $1", claims[2].id)
    await handed_in(database, "other", 5)
    assert (await balanced(database)).begun
    assert (await balanced(database)).asked == [(claims[1].id, 1)], "the youngest of the others"
    await finish(database, worker_id, [Outcome(claims[1].id, 1, State.QUEUED)])
    assert await picked(database) == ["other"]
    await finish(database, worker_id, [Outcome(claims[0].id, 1, State.SUCCEEDED)])
    assert await picked(database) == ["other"], "also if it has more then"
    (row,) = await database.fetch("SELECT cardinality(preempted) FROM ledger.jobs WHERE id = $1", claims[2].id)
    assert row[0] == PREEMPTED_AT_MOST


async def test_a_retry_by_hand_may_give_way_anew(database: Database) -> None:
    (job_id,) = await handed_in(database, "dev", ticketed=False)
    await database.fetch("UPDATE ledger.jobs SET preempted = ARRAY[1, 2, 3] WHERE id = $1", job_id)
    await end(database, [job_id], State.FAILED)
    assert await job_actions.retry(database, "dev", job_id)
    assert (await database.fetch("SELECT preempted FROM ledger.jobs"))[0][0] is None


async def test_a_worker_that_dies_while_a_job_gives_way_is_a_crash_of_its_own(database: Database) -> None:
    worker_id, claims = await flooded(database)
    await handed_in(database, "other")
    await balanced(database)
    assert (await balanced(database)).asked == [(claims[1].id, 1)]
    await die(database, worker_id)
    assert (await requeueing.recover(database)).jobs == 2
    (row,) = await database.fetch("SELECT state, crashes, preempted FROM ledger.jobs WHERE id = $1", claims[1].id)
    assert tuple(row) == ("queued", 1, [1])
    again = await worker(database, slots=2)
    (claim, *_) = await leases.claim(database, again, await ticketed(database, claims[1].id))
    lease = await leases.heartbeat(database, again)
    assert lease is not None
    assert (claim.attempt, lease.preempted) == (2, frozenset()), "what was asked of one attempt is not of the next"


async def ticketed(database: Database, job_id: UUID) -> list[UUID]:
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = $1", job_id)
    return [job_id]


async def test_a_cancelled_job_is_not_asked_as_well(database: Database) -> None:
    _, claims = await flooded(database)
    await handed_in(database, "other")
    await balanced(database)
    await job_actions.cancel(database, "flood", claims[1].id)
    assert await balanced(database) == Balanced()


async def test_dispatchers_that_look_at_once_ask_for_one_job(database: Database) -> None:
    await flooded(database)
    await handed_in(database, "other")
    await balanced(database)
    rounds = await asyncio.gather(*(balanced(database) for _ in range(8)))
    assert sum(len(one.asked) for one in rounds) == 1


async def test_caps_hold_in_a_shared_queue(database: Database) -> None:
    worker_id = await worker(database, slots=9)
    await queues.set_cap(database, "q", "max_running", 2)
    claims = await leases.claim(database, worker_id, await handed_in(database, "flood", 2))
    await aged(database, [claim.id for claim in claims])
    await handed_in(database, "flood", 3, ticketed=False)
    await handed_in(database, "other", 3, ticketed=False)
    assert (await balanced(database)).begun
    (asked,) = (await balanced(database)).asked
    await finish(database, worker_id, [Outcome(*asked, State.QUEUED)])
    assert await picked(database) == ["other"]
    await queues.set_cap(database, "q", "max_running_per_tenant", 1)
    await end_all(database, [claim for claim in claims if claim.id != asked[0]])
    assert sorted(await picked(database)) == ["flood", "other"]


async def test_of_a_hundred_tenants_nobody_within_its_share_is_asked(database: Database) -> None:
    worker_id = await worker(database, slots=2)
    new = [NewJob(f"t{number % 100:02}", "key", "q", "k", b"{}") for number in range(400)]
    await accept(database, new, ticketed=[True] * 400)
    ids = [job.id for job in new]
    await aged(database, ids)
    assert len(await leases.claim(database, worker_id, [ids[0], ids[100]])) == 2, "both of one tenant"
    await aged(database, ids)
    assert (await balanced(database)).begun
    (asked,) = (await balanced(database)).asked
    await finish(database, worker_id, [Outcome(*asked, State.QUEUED)])
    (next_one,) = await picked(database)
    assert next_one != "t00"
    rows = await database.fetch("SELECT id FROM ledger.jobs WHERE ticketed_at IS NOT NULL")
    assert len(await leases.claim(database, worker_id, [rows[0][0]])) == 1
    await aged(database, ids)
    for _ in range(3):
        assert await balanced(database) == Balanced()


@pytest.mark.parametrize("tenants", [2, 300])
async def test_looking_reads_no_more_with_a_long_backlog(database: Database, tenants: int) -> None:
    await flooded(database)
    await long_backlog(database, tenants)
    reads = "SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = 'jobs'"
    await database.fetch("SELECT pg_stat_force_next_flush()")
    (before,) = await database.fetch(reads)
    seen = await sharing.standing(database, "q")
    await database.fetch("SELECT pg_stat_force_next_flush()")
    (after,) = await database.fetch(reads)
    assert seen.share == 1 or tenants == 2
    assert after[0] - before[0] <= 200

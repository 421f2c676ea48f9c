"""The secret of a job is there as long as the job is to run, for its children too, and gone however it ends."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import flows, job_actions, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import secret_of
from libs.common.ledger.finish import Outcome, finish, finish_within
from libs.common.ledger.flows import NewChild
from libs.common.ledger.jobs import Filter, State, new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    claimed,
    die,
    facts,
    new_job,
    state_of,
    ticket,
    worker,
)

SECRET = b"\x00sealed"


async def stored(database: Database, job_id: UUID) -> bytes | None:
    rows = await database.fetch("SELECT secret FROM ledger.jobs WHERE id = $1", job_id)
    secret: bytes | None = rows[0][0]
    return secret


async def running(database: Database) -> tuple[UUID, UUID]:
    """A worker, and its job with a secret."""
    worker_id = await worker(database)
    (claim,) = await claimed(database, worker_id, new_job(secret=SECRET))
    return worker_id, claim.id


async def again(database: Database, worker_id: UUID, job_id: UUID) -> None:
    await database.fetch("UPDATE ledger.jobs SET state = 'queued', due_at = now() WHERE id = $1", job_id)
    await ticket(database, job_id)
    assert await leases.claim(database, worker_id, [job_id])


def ended(state: State, **outcome: Any) -> Callable[[Database], Awaitable[UUID]]:
    async def end(database: Database) -> UUID:
        worker_id, job_id = await running(database)
        assert await finish(database, worker_id, [Outcome(job_id, 1, state, **outcome)]) == [True]
        return job_id

    return end


async def with_effects(database: Database) -> UUID:
    worker_id, job_id = await running(database)
    async with database.begin() as connection:
        outcome = Outcome(job_id, 1, State.SUCCEEDED)
        assert await finish_within(connection, worker_id, outcome, forget_payload=True)
    return job_id


async def cancelled_before_it_ran(database: Database) -> UUID:
    later = new_job(secret=SECRET, run_at=datetime.now(UTC) + timedelta(hours=1))
    await accept(database, [later], ticketed=[False])
    assert await stored(database, later.id) == SECRET
    await job_actions.cancel(database, "dev", later.id)
    return later.id


async def cancelled_with_others(database: Database) -> UUID:
    job = new_job(secret=SECRET)
    await accept(database, [job], ticketed=[False])
    await job_actions.cancel_some(database, "dev", Filter(queue="q"))
    return job.id


async def cancelled_while_it_ran(database: Database) -> UUID:
    worker_id, job_id = await running(database)
    await job_actions.cancel(database, "dev", job_id)
    assert await stored(database, job_id) == SECRET, "its attempt has not ended"
    assert await finish(database, worker_id, [Outcome(job_id, 1, State.QUEUED)]) == [True]
    return job_id


async def cancelled_while_its_worker_died(database: Database) -> UUID:
    worker_id, job_id = await running(database)
    await job_actions.cancel(database, "dev", job_id)
    await die(database, worker_id)
    await requeueing.recover(database)
    return job_id


async def poisonous(database: Database) -> UUID:
    worker_id, job_id = await running(database)
    for crashes in range(1, requeueing.POISON_AFTER_CRASHES + 1):
        await die(database, worker_id)
        await requeueing.recover(database)
        if crashes < requeueing.POISON_AFTER_CRASHES:
            assert await secret_of(database, job_id) == SECRET, "another worker takes it"
            worker_id = await worker(database)
            await again(database, worker_id, job_id)
    return job_id


async def cancelled_while_it_waited(database: Database) -> UUID:
    worker_id, job_id = await running(database)
    assert await flows.fan_out(database, worker_id, job_id, 1, [NewChild("page", b"{}")], {"done": 0}) is not None
    await job_actions.cancel(database, "dev", job_id)
    return job_id


@pytest.mark.parametrize(
    "end",
    [
        ended(State.SUCCEEDED, result={}),
        ended(State.FAILED, error={"code": "x", "message": "x"}, failed=True),
        ended(State.CANCELLED),
        with_effects,
        cancelled_before_it_ran,
        cancelled_with_others,
        cancelled_while_it_ran,
        cancelled_while_its_worker_died,
        poisonous,
        cancelled_while_it_waited,
    ],
)
async def test_it_is_gone_however_the_job_ends(
    database: Database, end: Callable[[Database], Awaitable[UUID]]
) -> None:
    job_id = await end(database)
    assert await state_of(database, job_id) in ("succeeded", "failed", "cancelled")
    assert await stored(database, job_id) is None
    assert await secret_of(database, job_id) is None


async def test_it_stays_for_another_attempt(database: Database) -> None:
    worker_id, job_id = await running(database)
    outcomes = (
        Outcome(job_id, 1, State.QUEUED, failed=True, retry_in_s=9.0),
        Outcome(job_id, 2, State.QUEUED, snoozed=True),
        Outcome(job_id, 3, State.QUEUED),
    )
    for outcome in outcomes:
        assert await finish(database, worker_id, [outcome]) == [True]
        assert await secret_of(database, job_id) == SECRET
        await again(database, worker_id, job_id)


async def test_children_have_that_of_their_parent_and_no_copy(database: Database) -> None:
    worker_id, job_id = await running(database)
    children = [NewChild("page", b"{}"), NewChild("page", b"{}")]
    await flows.fan_out(database, worker_id, job_id, 1, children, {"done": 0})
    for child in children:
        assert await stored(database, child.id) is None
        assert await secret_of(database, child.id) == SECRET
    await ticket(database, *(child.id for child in children))
    claims = await leases.claim(database, worker_id, [child.id for child in children])
    assert await finish(database, worker_id, [Outcome(one.id, 1, State.SUCCEEDED) for one in claims])
    assert await flows.wake(database, job_id)
    assert await secret_of(database, job_id) == SECRET, "for the last step"


async def test_a_retry_may_bring_another(database: Database) -> None:
    job_id = await ended(State.FAILED, error={"code": "x", "message": "x"}, failed=True)(database)
    assert await job_actions.retry(database, "dev", job_id)
    assert await secret_of(database, job_id) is None
    await job_actions.cancel(database, "dev", job_id)
    assert await job_actions.retry(database, "dev", job_id, secret=b"another")
    assert await secret_of(database, job_id) == b"another"


async def test_nobody_is_shown_it(database: Database) -> None:
    _, job_id = await running(database)
    assert "secret" not in await facts(database, job_id)
    assert "sealed" not in repr(await facts(database, job_id))
    assert "sealed" not in repr(new_job(secret=SECRET))
    assert await secret_of(database, new_id()) is None


async def test_no_other_service_can_read_it(database: Database) -> None:
    """Workers see rows of their own queue. Who sees published columns for a tenant does not see this one."""
    rows = await database.fetch(
        """SELECT rolname FROM pg_roles r WHERE NOT rolsuper AND rolname LIKE 'argosy%'
           AND has_column_privilege(r.oid, 'ledger.jobs', 'secret', 'SELECT')
           AND NOT EXISTS (SELECT FROM pg_policies p WHERE schemaname = 'ledger' AND tablename = 'jobs'
                           AND r.rolname = ANY(roles) AND qual LIKE '%queue IS DISTINCT FROM%')"""
    )
    assert {row[0] for row in rows} == {"argosy_gateway", "argosy_tenant", "argosy_worker"}

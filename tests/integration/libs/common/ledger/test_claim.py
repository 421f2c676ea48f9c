"""Claims and the lease: one worker gets a job, and shows that it still lives."""

import asyncio

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import dispatch, jobs
from libs.common.ledger.jobs import new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    claimed,
    die,
    new_job,
    worker,
)


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

"""Claims and the lease: one worker gets a job, and shows that it still lives."""

import asyncio
import secrets
from dataclasses import replace

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import jobs, requeueing
from libs.common.ledger.accept import accept
from libs.common.ledger.claim import PAYLOAD_BYTES_AT_MOST
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    claimed,
    die,
    facts,
    new_job,
    ticket,
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


async def test_a_claim_does_not_carry_a_large_payload(database: Database) -> None:
    """Many together would take longer than a claim may. What is large is asked for by itself."""
    text = f'{{"n": "{secrets.token_hex(PAYLOAD_BYTES_AT_MOST)}"}}'  # it cannot be compressed to less than half
    small, large = new_job(), replace(new_job(), payload=text.encode())
    claims = await claimed(database, await worker(database), small, large)
    assert {claim.id: claim.payload for claim in claims} == {small.id: '{"n": 1}', large.id: None}
    assert await leases.large_payload(database, large.id) == text


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
    await requeueing.recover(database)
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


async def test_a_job_without_a_ticket_is_not_claimed(database: Database) -> None:
    """Its ticket is from before a pause, and the caps do not count it."""
    job = new_job()
    await accept(database, [job], ticketed=[False])
    worker_id = await worker(database)
    assert await leases.claim(database, worker_id, [job.id]) == []
    await ticket(database, job.id)
    assert [claim.id for claim in await leases.claim(database, worker_id, [job.id, job.id, new_id()])] == [job.id]
    assert await leases.claim(database, worker_id, [job.id]) == [], "it runs"


async def test_a_new_attempt_begins_without_the_progress_of_the_one_before(database: Database) -> None:
    worker_id = await worker(database)
    (first,) = await claimed(database, worker_id, new_job())
    await leases.store_progress(database, worker_id, {(first.id, 1): {"done": 3}})
    await finish(database, worker_id, [Outcome(first.id, 1, State.QUEUED)])
    await ticket(database, first.id)
    (second,) = await leases.claim(database, worker_id, [first.id])
    assert second.attempt == 2
    assert (await facts(database, first.id))["progress"] is None


async def test_a_worker_that_leaves_is_noted_and_registering_again_changes_nothing(database: Database) -> None:
    worker_id = await worker(database)
    await leases.register(database, worker_id, queue="q", slots=9, host="h", pid=1)
    assert (await database.fetch("SELECT count(*) FROM ledger.workers"))[0][0] == 1
    seen = "SELECT worker_seen_at FROM ledger.queues WHERE name = 'q'"
    assert await database.fetch(seen) == []
    for _ in range(2):
        await leases.deregister(database, worker_id)
        assert (await database.fetch(seen))[0][0] is not None
    assert await database.fetch("SELECT FROM ledger.workers") == []
    assert await leases.heartbeat(database, worker_id) is None

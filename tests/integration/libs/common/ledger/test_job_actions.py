"""Cancel and retry by hand, of one job or of all that a filter means."""

from datetime import UTC, datetime

from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger import job_actions, requeueing
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import Filter, State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    facts,
    new_job,
    ticket,
    unaccounted,
    worker,
)


async def test_a_waiting_job_is_cancelled_at_once(database: Database) -> None:
    waiting, scheduled = await accepted(database, new_job(), new_job())
    for job_id in (waiting, scheduled):
        (cancelled,) = await job_actions.cancel(database, "dev", job_id)
        assert cancelled.state == "cancelled"
    assert await job_actions.cancel(database, "dev", waiting) == []
    assert await leases.claim(database, await worker(database), [waiting]) == []
    assert await unaccounted(database) == {"q": 0}


async def test_a_running_job_is_asked_to_stop_and_ends_cancelled_whichever_way_it_ends(database: Database) -> None:
    worker_id = await worker(database)
    ids = await accepted(database, *(new_job() for _ in range(4)))
    released, retried, done, orphan = await leases.claim(database, worker_id, ids)
    for job_id in ids:
        (cancelled,) = await job_actions.cancel(database, "dev", job_id)
        assert cancelled.state == "running"
    lease = await leases.heartbeat(database, worker_id)
    assert lease is not None
    assert lease.cancelled == {(job_id, 1) for job_id in ids}
    outcomes = [
        Outcome(released.id, 1, State.QUEUED),
        Outcome(retried.id, 1, State.QUEUED, retry_in_s=60, failed=True),
        Outcome(done.id, 1, State.SUCCEEDED),
    ]
    await finish(database, worker_id, outcomes)
    await database.fetch("UPDATE ledger.workers SET heartbeat_at = now() - interval '1 hour'")
    await requeueing.recover(database)
    ends = [(await facts(database, claim.id))["state"] for claim in (released, retried, done, orphan)]
    assert ends == ["cancelled", "cancelled", "succeeded", "cancelled"]
    assert await unaccounted(database) == {"q": 0}


async def test_another_tenants_job_cannot_be_touched(database: Database) -> None:
    (job_id,) = await accepted(database, new_job(tenant="other"))
    assert await job_actions.cancel(database, "dev", job_id) == []
    assert await job_actions.cancel_some(database, "dev", Filter(states=job_actions.LIVE)) == []
    await end(database, [job_id], State.FAILED)
    assert not await job_actions.retry(database, "dev", job_id)


async def test_a_retry_by_hand_gives_all_tries_back_and_keeps_the_history(database: Database) -> None:
    (job_id,) = await accepted(database, new_job(max_attempts=2))
    await end(database, [job_id], State.FAILED)
    assert await job_actions.retry(database, "dev", job_id)
    found = await facts(database, job_id)
    assert (found["state"], found["failures"], found["attempt"]) == ("queued", 0, 1)
    assert (found["finished_at"], len(found["errors"])) == (None, 1)
    assert not await job_actions.retry(database, "dev", job_id)
    assert await unaccounted(database) == {"q": 0}
    await end(database, [job_id], State.SUCCEEDED)
    found = await facts(database, job_id)
    assert (found["error"], len(found["errors"])) == (None, 1)
    assert await unaccounted(database) == {"q": 0}


async def test_a_succeeded_job_is_retried_only_if_that_is_said_and_knows_of_it(database: Database) -> None:
    (job_id,) = await accepted(database, new_job())
    await end(database, [job_id], State.SUCCEEDED)
    assert not await job_actions.retry(database, "dev", job_id)
    assert await job_actions.retry(database, "dev", job_id, if_succeeded=True, in_doubt=True)
    assert await unaccounted(database) == {"q": 0}
    for attempt in (2, 3):
        await ticket(database, job_id)
        worker_id = await worker(database)
        (claim,) = await leases.claim(database, worker_id, [job_id])
        assert claim.retried is not None
        assert (claim.attempt, claim.retried.after, claim.retried.in_doubt) == (attempt, 1, True)
        assert abs((datetime.now(UTC) - claim.retried.at).total_seconds()) < 3600
        await finish(database, worker_id, [Outcome(job_id, attempt, State.QUEUED, failed=True)])
    assert not await job_actions.retry(database, "dev", job_id, if_succeeded=True), "it has not ended"


async def test_bulk_cancel_takes_what_the_filter_means_and_no_more(database: Database) -> None:
    meant = await accepted(database, *(new_job(tags=("old",)) for _ in range(3)))
    (spared,) = await accepted(database, new_job(tags=("new",)))
    cancelled = await job_actions.cancel_some(database, "dev", Filter(states=job_actions.LIVE, tag="old"))
    assert sorted(job.id for job in cancelled) == sorted(meant)
    assert await job_actions.cancel_some(database, "dev", Filter(states=job_actions.LIVE, tag="old")) == []
    assert (await facts(database, spared))["state"] == "queued"

"""Cancel, retry, replays, uniqueness, and the books that must balance whatever happens."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import accounting, dispatch, job_actions, replays, retention
from libs.common.ledger import claim as leases
from libs.common.ledger.accept import accept
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.job_actions import UniqueKeyTaken
from libs.common.ledger.jobs import Filter, NewJob, State, find, new_id


def new_job(**changes: Any) -> NewJob:
    facts = {"tenant": "dev", "created_by": "key", "queue": "q", "kind": "k", "payload": b"{}"} | changes
    return NewJob(**facts)


async def accepted(database: Database, *jobs: NewJob) -> list[UUID]:
    return [one.id for one in await accept(database, jobs, ticketed=[True] * len(jobs))]


async def worker(database: Database) -> UUID:
    worker_id = new_id()
    await leases.register(database, worker_id, queue="q", slots=9, host="h", pid=1)
    return worker_id


async def end(database: Database, ids: Sequence[UUID], state: State, code: str = "bug") -> None:
    """Run them, to that end."""
    worker_id = await worker(database)
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = now() WHERE id = ANY($1)", ids)
    claims = await leases.claim(database, worker_id, ids)
    failed = state is State.FAILED
    error = {"code": code, "message": "…"} if failed else None
    outcomes = [Outcome(claim.id, claim.attempt, state, error=error, failed=failed) for claim in claims]
    assert all(await finish(database, worker_id, outcomes))


async def facts(database: Database, job_id: UUID) -> dict[str, Any]:
    found = await find(database, "dev", job_id)
    assert found is not None
    return dict(found)


async def unaccounted(database: Database) -> dict[str, int]:
    return {row["queue"]: row["unaccounted"] for row in await accounting.balance(database)}


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
    await dispatch.recover(database)
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


async def test_bulk_cancel_takes_what_the_filter_means_and_no_more(database: Database) -> None:
    meant = await accepted(database, *(new_job(tags=("old",)) for _ in range(3)))
    (spared,) = await accepted(database, new_job(tags=("new",)))
    cancelled = await job_actions.cancel_some(database, "dev", Filter(states=job_actions.LIVE, tag="old"))
    assert sorted(job.id for job in cancelled) == sorted(meant)
    assert await job_actions.cancel_some(database, "dev", Filter(states=job_actions.LIVE, tag="old")) == []
    assert (await facts(database, spared))["state"] == "queued"


async def begin_replay(database: Database, wanted: Filter, **how: Any) -> UUID:
    how = {"rate": None, "stop_after": None} | how
    matched = (await job_actions.count(database, "dev", wanted))["matched"]
    return await replays.start(database, "dev", "key", wanted, matched=matched, **how)


async def test_a_replay_releases_each_failed_job_once_even_if_it_fails_again(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(5)))
    await end(database, ids, State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE))
    assert await replays.release(database) == 5
    await end(database, ids, State.FAILED)
    assert await replays.release(database) == 0
    found = await replays.find(database, "dev", replay)
    assert found is not None
    assert (found["state"], found["released"], found["jobs"]) == ("finished", 5, {"failed": 5})


async def test_a_replay_goes_no_faster_than_its_rate(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(50)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), rate=0.001)
    assert await replays.release(database) == 1
    assert await replays.release(database) == 0
    for table, age_s in (("jobs", 20_000), ("replays", 10_000)):
        await database.fetch(f"UPDATE ledger.{table} SET created_at = created_at - interval '{age_s} s'")  # noqa: S608
    assert await replays.release(database) == 10


async def test_the_fuse_stops_a_replay_whose_first_jobs_fail_again(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(20)))
    await end(database, ids, State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=3)
    assert await replays.release(database) == 3
    assert await replays.release(database) == 0  # none has succeeded yet
    await end(database, ids[:3], State.FAILED)
    assert await replays.release(database) == 0
    found = await replays.find(database, "dev", replay)
    assert found is not None
    assert (found["state"], found["reason"]) == ("stopped", "The first 3 failed again.")
    assert (await facts(database, ids[3]))["state"] == "failed"


async def test_after_the_first_success_the_fuse_lets_all_go(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(20)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=3)
    assert await replays.release(database) == 3
    await end(database, ids[:1], State.SUCCEEDED)
    assert await replays.release(database) == 17


async def test_a_replay_leaves_jobs_whose_place_is_taken(database: Database) -> None:
    (first,) = await accepted(database, new_job(unique_key="only"))
    await end(database, [first], State.FAILED)
    (second,) = await accepted(database, new_job(unique_key="only"))
    assert second != first
    with pytest.raises(UniqueKeyTaken):
        await job_actions.retry(database, "dev", first)
    (other,) = await accepted(database, new_job())
    await end(database, [other], State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE))
    assert await replays.release(database) == 1
    assert (await facts(database, first))["state"] == "failed"


async def test_the_same_request_is_one_job_however_often_and_at_once_it_comes(database: Database) -> None:
    def again() -> NewJob:
        return new_job(idempotency_key="once", request_sha256=b"x")

    answers = await asyncio.gather(*(accepted(database, again(), new_job(), again()) for _ in range(20)))
    assert len({answer[0] for answer in answers} | {answer[2] for answer in answers}) == 1
    (row,) = await database.fetch("SELECT count(*) FROM ledger.jobs WHERE idempotency_key = 'once'")
    assert row[0] == 1
    (elsewhere,) = await accepted(database, new_job(tenant="other", idempotency_key="once"))
    assert elsewhere not in {answer[0] for answer in answers}
    assert await unaccounted(database) == {"q": 0}


async def test_unique_for_lasts_as_long_as_the_job(database: Database) -> None:
    (first,) = await accepted(database, new_job(unique_key="daily"))
    assert await accepted(database, new_job(unique_key="daily")) == [first]
    await end(database, [first], State.SUCCEEDED)
    (second,) = await accepted(database, new_job(unique_key="daily"))
    assert second != first


async def test_the_books_notice_a_job_that_vanishes_or_ends_twice(database: Database) -> None:
    (job_id, other) = await accepted(database, new_job(), new_job())
    await database.fetch("DELETE FROM ledger.jobs WHERE id = $1", job_id)
    assert await unaccounted(database) == {"q": 1}
    await end(database, [other], State.SUCCEEDED)
    await database.fetch("UPDATE ledger.jobs SET state = 'queued', finished_at = NULL WHERE id = $1", other)
    await end(database, [other], State.SUCCEEDED)
    assert await unaccounted(database) == {"q": 0}  # one too few, one too many
    await accounting.compact_entries(database)
    (row,) = await database.fetch("SELECT count(*) FROM ledger.entries")
    assert row[0] == 2


async def test_old_jobs_are_struck_off_and_their_folders_noted(database: Database) -> None:
    old, young = await accepted(database, new_job(bytes=10), new_job(bytes=5))
    (waiting,) = await accepted(database, new_job(bytes=1))
    await end(database, [old, young], State.SUCCEEDED)
    await database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '2 days' WHERE id = $1", old)
    assert await retention.remove_ended_jobs(database, older_than_s=86400, limit=10) == 1
    assert await retention.unneeded_folders(database, 10) == [f"jobs/dev/{old.hex}"]
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=10) == 1
    assert (await facts(database, waiting))["state"] == "queued"
    (account,) = await accounting.balance(database)
    assert (account["bytes"], account["unaccounted"]) == (1, 0)


async def test_a_replay_goes_on_when_the_job_its_fuse_waits_for_is_cancelled(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(3)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=1)
    assert await replays.release(database) == 1
    await job_actions.cancel(database, "dev", ids[0])
    assert await replays.release(database) == 1


async def test_a_budget_is_kept_by_many_gateways_together(database: Database) -> None:
    ids = await accepted(database, *(new_job(bytes=1000) for _ in range(30)))
    await end(database, ids, State.SUCCEEDED)
    assert await accounting.stored_bytes(database) == 30_000
    assert await retention.remove_ended_jobs(database, older_than_s=0, limit=10) == 10
    assert await accounting.stored_bytes(database) == 20_000

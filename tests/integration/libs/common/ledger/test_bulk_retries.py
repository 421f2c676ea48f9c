"""Bulk retries: each job once, at a rate and behind a fuse."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import bulk_retries, job_actions
from libs.common.ledger.job_actions import UniqueKeyTaken
from libs.common.ledger.jobs import Filter, State
from tests.integration.libs.common.ledger.job_lifecycle import (
    accepted,
    end,
    facts,
    new_job,
    state_of,
    unaccounted,
)


async def begin_replay(database: Database, wanted: Filter, **how: Any) -> UUID:
    how = {"rate": None, "stop_after": None} | how
    replay = await bulk_retries.start(database, "dev", "key", wanted, **how)
    assert replay is not None
    return replay


async def test_a_replay_releases_each_failed_job_once_even_if_it_fails_again(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(5)))
    await end(database, ids, State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE))
    assert await bulk_retries.release(database) == 5
    await end(database, ids, State.FAILED)
    assert await bulk_retries.release(database) == 0
    found = await bulk_retries.find(database, "dev", replay)
    assert found is not None
    assert (found["state"], found["released"], found["jobs"]) == ("finished", 5, {"failed": 5})


async def test_a_replay_goes_no_faster_than_its_rate(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(50)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), rate=0.001)
    assert await bulk_retries.release(database) == 1
    assert await bulk_retries.release(database) == 0
    for table, age_s in (("jobs", 20_000), ("replays", 10_000)):
        await database.fetch(f"UPDATE ledger.{table} SET created_at = created_at - interval '{age_s} s'")  # noqa: S608
    assert await bulk_retries.release(database) == 10


async def test_the_fuse_stops_a_replay_whose_first_jobs_fail_again(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(20)))
    await end(database, ids, State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=3)
    assert await bulk_retries.release(database) == 3
    assert await bulk_retries.release(database) == 0  # none has succeeded yet
    await end(database, ids[:3], State.FAILED)
    assert await bulk_retries.release(database) == 0
    found = await bulk_retries.find(database, "dev", replay)
    assert found is not None
    assert (found["state"], found["reason"]) == ("stopped", "The first 3 failed again.")
    assert (await facts(database, ids[3]))["state"] == "failed"


async def test_after_the_first_success_the_fuse_lets_all_go(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(20)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=3)
    assert await bulk_retries.release(database) == 3
    await end(database, ids[:1], State.SUCCEEDED)
    assert await bulk_retries.release(database) == 17


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
    assert await bulk_retries.release(database) == 1
    assert (await facts(database, first))["state"] == "failed"


async def test_a_replay_goes_on_when_the_job_its_fuse_waits_for_is_cancelled(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(3)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE), stop_after=1)
    assert await bulk_retries.release(database) == 1
    await job_actions.cancel(database, "dev", ids[0])
    assert await bulk_retries.release(database) == 1


async def test_a_replay_that_is_stopped_releases_no_more(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(3)))
    await end(database, ids, State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE), rate=0.001)
    assert await bulk_retries.release(database) == 1
    assert await bulk_retries.running(database) == 1
    assert await bulk_retries.stop(database, "dev", replay)
    assert not await bulk_retries.stop(database, "dev", replay)
    await database.fetch("UPDATE ledger.replays SET created_at = created_at - interval '1 day'")
    assert await bulk_retries.release(database) == 0
    assert await bulk_retries.running(database) == 0
    found = await bulk_retries.find(database, "dev", replay)
    assert found is not None
    assert (found["state"], found["released"], found["matched"]) == ("cancelled", 1, 3)


async def test_a_replay_is_its_tenants(database: Database) -> None:
    (mine,) = await accepted(database, new_job())
    (theirs,) = await accepted(database, new_job(tenant="other"))
    await end(database, [mine, theirs], State.FAILED)
    replay = await begin_replay(database, Filter(states=job_actions.RETRYABLE))
    assert await bulk_retries.find(database, "other", replay) is None
    assert not await bulk_retries.stop(database, "other", replay)
    assert await bulk_retries.release(database) == 1
    assert [await state_of(database, job_id) for job_id in (mine, theirs)] == ["queued", "failed"]


async def test_many_dispatchers_release_each_job_once(database: Database) -> None:
    ids = await accepted(database, *(new_job() for _ in range(30)))
    await end(database, ids, State.FAILED)
    await begin_replay(database, Filter(states=job_actions.RETRYABLE))
    assert sum(await asyncio.gather(*(bulk_retries.release(database) for _ in range(4)))) == 30
    assert await unaccounted(database) == {"q": 0}

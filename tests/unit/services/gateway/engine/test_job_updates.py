"""One follower's view of a job: what is new to it, and nothing twice."""

import asyncio
from typing import Any

import pytest

from libs.common.ledger.jobs import JobFacts
from services.gateway.engine.job_updates import Follower, JobUpdates
from tests.unit.services.gateway.job_facts import JOB, job_facts


def facts(state: str = "queued", attempt: int = 0, failures: int = 0, progress: Any = None) -> JobFacts:
    return job_facts(state=state, attempt=attempt, failures=failures, progress=progress)


async def test_facts_that_were_seen_are_no_news() -> None:
    follower = Follower()
    follower.set_facts(facts())
    assert (await follower.next(1))[0] == facts()
    follower.set_facts(facts(progress={"done": 1}))
    assert await follower.next(0.01) == (None, None)
    for new in (facts("running", 1), facts("queued", 1, 1), facts("running", 2, 1)):
        follower.set_facts(new)
        assert (await follower.next(1))[0] == new


async def test_a_waiting_job_is_new_with_each_child_that_ended() -> None:
    follower = Follower()
    for done in (0, 1, 2):
        follower.set_facts(facts("waiting", 1, progress={"done": done}))
        assert (await follower.next(1))[0] is not None
    follower.set_facts(facts("waiting", 1, progress={"done": 2}))
    assert await follower.next(0.01) == (None, None)


async def test_only_the_latest_is_told() -> None:
    follower = Follower()
    follower.set_facts(facts())
    follower.set_facts(facts("running", 1))
    follower.set_progress({"done": 1})
    follower.set_progress({"done": 2})
    assert await follower.next(1) == (facts("running", 1), {"done": 2})
    assert await follower.next(0.01) == (None, None)


async def test_news_end_in_time_or_with_the_job() -> None:
    follower = Follower()
    assert [updates async for updates in follower.updates(0.01)] == [(None, None)]
    follower.set_gone()
    assert [updates async for updates in follower.updates(60)] == []


async def test_waking_ends_a_wait_with_nothing_new() -> None:
    follower = Follower()
    waiting = asyncio.create_task(follower.next(60))
    await asyncio.sleep(0)
    follower.wake()
    assert await waiting == (None, None)


class Ledger:
    """A database in which nothing can be read."""

    async def fetch(self, *_args: object, **_more: object) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("known", [True, False])
async def test_a_job_that_is_no_longer_there_is_gone_for_who_follows_it(known: bool) -> None:
    updates = JobUpdates(Ledger(), None)  # type: ignore[arg-type]
    with updates.follow(facts()) as follower:
        follower.set_facts(facts())
        await follower.next(1)
        updates._compare({JOB.hex: ("queued", 0, 0, None)} if known else {}, [JOB.hex])
        assert follower.gone is not known
    await updates._reading.drain()
    assert not updates._followers, "whoever has left is forgotten"

"""Whoever has lost a job that writes as it goes can write no more, and the next goes on where it was."""

import pytest

from libs.common.contracts.analytics import AnalyticsPayload, RebuildPayload
from libs.common.ledger.jobs import new_id
from libs.common.worker.job import Job
from services.analytics import runs
from services.analytics.refusals import NoLongerOurs
from tests.analysing import Analyst

PAYLOAD = AnalyticsPayload(RebuildPayload())


async def test_an_attempt_that_was_overtaken_changes_nothing(analyst: Analyst) -> None:
    id_ = new_id()
    first, second = (Job(id_, attempt, "acme", "rebuild", PAYLOAD, lambda _: None) for attempt in (1, 2))
    frozen = await runs.begin(analyst.database, first)
    async with runs.step(analyst.database, frozen):
        frozen.position = "here"
        frozen.count("days", 3)
    after = await runs.begin(analyst.database, second)
    assert (after.position, after.figures) == ("here", {"days": 3})
    with pytest.raises(NoLongerOurs):
        async with runs.step(analyst.database, frozen):
            raise AssertionError("it must not get here")
    with pytest.raises(NoLongerOurs):
        await runs.begin(analyst.database, first)
    async with runs.step(analyst.database, after):
        after.count("days", 1)
    again = await runs.begin(analyst.database, second)
    assert again.figures == {"days": 4}


async def test_a_step_that_fails_leaves_nothing(analyst: Analyst) -> None:
    run = await runs.begin(analyst.database, Job(new_id(), 1, "acme", "rebuild", PAYLOAD, lambda _: None))

    async def fail() -> None:
        async with runs.step(analyst.database, run):
            run.position = "there"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    ((position,),) = await analyst.database.fetch("SELECT position FROM analytics.runs")
    assert position == ""

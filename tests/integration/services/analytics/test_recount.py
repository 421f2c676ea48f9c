"""Counting a day anew finds what is wrong, and only that."""

import random
from datetime import timedelta
from typing import Any

import pytest

from libs.common.contracts.analytics import HousekeepingPayload, RebuildPayload
from libs.common.db import Connection, fetch_within
from services.analytics import recount
from tests.analysing import NOW, Analyst, brute_force, event, generated


async def test_values_without_a_label_stay_together(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"])
    for begin in range(0, 1_200, 400):
        await analyst.count([event(f"e{n}", page=f"/{n}") for n in range(begin, begin + 400)])
    before = await analyst.rollups()
    assert (await analyst.run(RebuildPayload(event="view")))["drift"] == 0
    assert await analyst.rollups() == before


async def test_a_rollup_that_was_altered_is_found_and_mended(analyst: Analyst) -> None:
    events = generated(random.Random(5), 100)  # noqa: S311 - a test's
    await analyst.count(events)
    await analyst.database.fetch(
        "UPDATE analytics.rollups SET count = count + 3 WHERE (name, hour) ="
        " (SELECT name, hour FROM analytics.rollups WHERE dim = '' ORDER BY hour LIMIT 1)"
    )
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 3
    assert (await analyst.run(RebuildPayload()))["drift"] == 3
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0
    assert await analyst.rollups() == brute_force(events).rollups


async def test_a_day_is_counted_by_the_hour(analyst: Analyst, monkeypatch: pytest.MonkeyPatch) -> None:
    at = NOW.replace(hour=0, minute=30) - timedelta(days=1)
    events = [event(f"e{hour}", at=at + timedelta(hours=hour), page=f"/{hour % 3}") for hour in range(24)]
    await analyst.type("view", dimensions=["page"])
    await analyst.count(events)
    await analyst.database.fetch(
        "DELETE FROM analytics.rollups WHERE extract(hour FROM hour AT TIME ZONE 'UTC') = 3"
    )
    ranges = list[timedelta]()

    async def noting(connection: Connection, sql: str, *args: Any) -> Any:
        if sql == recount._DRIFT:
            ranges.append(args[3] - args[2])
        return await fetch_within(connection, sql, *args)

    monkeypatch.setattr(recount, "fetch_within", noting)
    assert (await analyst.run(RebuildPayload(event="view")))["drift"] == 2
    assert ranges == [timedelta(hours=1)] * 24
    assert await analyst.rollups() == brute_force(events, ["page"]).rollups

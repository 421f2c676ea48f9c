"""Counting anew gives what was counted, and what a new version of a type asks for."""

import random

from libs.common.contracts.analytics import HousekeepingPayload, RebuildPayload
from tests.analysing import Analyst, brute_force, event, generated


async def test_counting_anew_changes_nothing_and_says_so(analyst: Analyst) -> None:
    events = generated(random.Random(3), 200)  # noqa: S311 - a test's
    for name in ("view", "click"):
        await analyst.type(name, dimensions=["page"], value="amount")
    await analyst.count(events)
    before, estimates = await analyst.rollups(), await analyst.estimates()
    result = await analyst.run(RebuildPayload())
    assert result["drift"] == 0
    assert result["days"] >= 6
    assert (await analyst.rollups(), await analyst.estimates()) == (before, estimates)


async def test_new_dimensions_hold_for_earlier_days(analyst: Analyst) -> None:
    events = generated(random.Random(4), 200)  # noqa: S311 - a test's
    await analyst.count(events)
    for name in ("view", "click"):
        changed = await analyst.type(name, dimensions=["page"], value="amount")
        assert not changed["rebuilt"]
        assert (await analyst.run(RebuildPayload(event=name)))["drift"] == 0
        assert (await analyst.ask("get_type", name=name))["rebuilt"]
    found = {key: (count, round(total, 6)) for key, (count, total) in (await analyst.rollups()).items()}
    assert found == brute_force(events, ("page",), "amount").rollups


async def test_housekeeping_rebuilds_what_nobody_has(analyst: Analyst) -> None:
    await analyst.count([event(f"e{n}", page="/") for n in range(5)])
    assert not (await analyst.type("view", dimensions=["page"]))["rebuilt"]
    assert await analyst.run(HousekeepingPayload(), tenant="argosy") == {"rebuilt": 1, "drift": 0}
    assert (await analyst.ask("get_type", name="view"))["rebuilt"]
    assert [count for key, (count, _) in (await analyst.rollups()).items() if key[1] == "page"] == [5]

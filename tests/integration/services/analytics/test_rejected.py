"""Rejected events can be read, but nobody can fill the database with them."""

import pytest

from services.analytics import rejected
from tests.analysing import Analyst, event


async def test_one_in_a_hundred_events_is_kept_and_the_others_are_counted(
    analyst: Analyst, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "KEPT_AT_LEAST", 3)
    await analyst.count([event(f"e{n}") for n in range(500)])
    await analyst.count([event(f"b{n}") | {"name": "No"} for n in range(100)])
    await analyst.count([event(f"c{n}") | {"name": "No"} for n in range(100)])
    found = await analyst.ask("list_rejected", after=None, limit=1_000, reason=None)
    assert (len(found["rejected"]), found["not_kept"]) == (7, 193)


async def test_a_huge_event_is_kept_in_part(analyst: Analyst) -> None:
    await analyst.count([event("big", x="y" * 100_000)])
    ((stored,),) = await analyst.database.fetch("SELECT length(event::text) FROM analytics.rejected")
    assert 0 < stored < 20_000
    found = await analyst.ask("list_rejected", after=None, limit=10, reason=None)
    assert [one["reason"] for one in found["rejected"]] == ["properties_too_large"]

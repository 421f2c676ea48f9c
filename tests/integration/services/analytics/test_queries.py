"""Answers are what brute force says, in any zone, and say themselves how exact they are."""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from services.analytics import queries
from services.analytics.refusals import TooManyRows
from tests.analysing import NOW, Analyst, Event, event, generated

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe")
FROM, TO = (NOW - timedelta(days=4)).date().isoformat(), (NOW + timedelta(days=2)).date().isoformat()
RANGE = {"from": FROM, "to": TO}


def by_day(events: list[Event], zone: str) -> Counter[str]:
    """How many events there are on each day of a zone."""
    return Counter(
        datetime.fromisoformat(one["time"]).astimezone(ZoneInfo(zone)).date().isoformat() for one in events
    )


@pytest.fixture
async def events(analyst: Analyst) -> list[Event]:
    for name in ("view", "click"):
        await analyst.type(name, dimensions=["page"], value="amount")
    found = generated(random.Random(6), 300)  # noqa: S311 - a test's
    await analyst.count(found)
    return [one for one in found if one["name"] == "view"]


@pytest.mark.parametrize("zone", ZONES)
async def test_days_are_those_of_the_zone(analyst: Analyst, events: list[Event], zone: str) -> None:
    answer = await analyst.ask("query", event="view", time_zone=zone, **RANGE)
    (series,) = answer["series"]
    assert answer["exact"]
    assert Counter({day: count for day, count in series["points"] if count}) == by_day(events, zone)
    assert [day for day, _ in series["points"]] == sorted({day for day, _ in series["points"]})
    assert any(count == 0 for _, count in series["points"])


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu"])
async def test_from_rollups_such_zones_are_not_exact(
    analyst: Analyst, events: list[Event], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "FROM_EVENTS_AT_MOST", 0)
    answer = await analyst.ask("query", event="view", time_zone=zone, **RANGE)
    assert not answer["exact"]
    assert sum(count for _, count in answer["series"][0]["points"]) == len(events)


async def test_where_clocks_change_days_have_23_and_25_hours(analyst: Analyst) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    autumn = datetime(NOW.year, NOW.month, 1, tzinfo=UTC) - timedelta(days=1)
    while autumn.astimezone(berlin).utcoffset() == (autumn - timedelta(days=1)).astimezone(berlin).utcoffset():
        autumn -= timedelta(days=1)
    hours = [autumn - timedelta(days=2) + timedelta(hours=n) for n in range(96)]
    await analyst.count([event(f"e{n}", at=at) for n, at in enumerate(hours)])
    begin, end = hours[0].astimezone(berlin).date(), hours[-1].astimezone(berlin).date()
    answer = await analyst.points(event="view", time_zone="Europe/Berlin", **{"from": str(begin), "to": str(end)})
    whole = [count for _, count in answer[1:]]
    assert {23, 25} & set(whole)
    assert set(whole) <= {23, 24, 25}


async def test_empty_buckets_are_filled(analyst: Analyst) -> None:
    await analyst.count([event("a", at=datetime(NOW.year, NOW.month, 1, 5, tzinfo=UTC))])
    first = NOW.date().replace(day=1)
    points = await analyst.points(event="view", **{"from": str(first), "to": str(first + timedelta(days=3))})
    assert [count for _, count in points] == [1, 0, 0]
    hours = await analyst.points(
        event="view", by="hour", **{"from": str(first), "to": str(first + timedelta(days=1))}
    )
    assert [count for _, count in hours] == [0] * 5 + [1] + [0] * 18
    assert hours[5][0] == f"{first}T05:00+00:00"


async def test_sums_add_the_types_value(analyst: Analyst, events: list[Event]) -> None:
    expected = sum(one["properties"]["amount"] for one in events)
    points = await analyst.points(event="view", measure="sum", by="total", **RANGE)
    assert [total for _, total in points] == [pytest.approx(expected)]


async def test_the_largest_values_have_series_and_the_others_a_sum(analyst: Analyst, events: list[Event]) -> None:
    pages = Counter(one["properties"]["page"] or "" for one in events)
    answer = await analyst.ask("query", event="view", breakdown="page", top=2, **RANGE)
    found = {series["value"]: sum(count for _, count in series["points"]) for series in answer["series"]}
    assert sorted(found.values(), reverse=True) == sorted(pages.values(), reverse=True)[:2]
    assert all(pages[value] == count for value, count in found.items())
    assert answer["other"] == len(events) - sum(found.values())


async def test_what_is_unknown_has_no_events(analyst: Analyst, events: list[Event]) -> None:
    assert all(count == 0 for _, count in await analyst.points(event="nothing", **RANGE))
    answer = await analyst.ask("query", event="view", breakdown="nothing", **RANGE)
    assert (answer["series"], answer["other"]) == ([], len(events))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
async def test_uniques_are_counted_exactly_while_events_are_kept(
    analyst: Analyst, events: list[Event], zone: str
) -> None:
    subjects: defaultdict[str, set[str]] = defaultdict(set)
    for one in events:
        day = datetime.fromisoformat(one["time"]).astimezone(ZoneInfo(zone)).date().isoformat()
        subjects[day] |= {one["subject"]} - {None}
    answer = await analyst.ask("query", event="view", measure="uniques", time_zone=zone, **RANGE)
    assert (answer["exact"], answer["error"]) == (True, None)
    found = {day: count for day, count in answer["series"][0]["points"] if count}
    assert found == {day: len(of_day) for day, of_day in subjects.items() if of_day}


async def test_of_many_events_uniques_are_estimated_and_it_is_said(
    analyst: Analyst, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = await analyst.points(event="view", measure="uniques", **RANGE)
    monkeypatch.setattr(queries, "FROM_EVENTS_AT_MOST", 10)
    answer = await analyst.ask("query", event="view", measure="uniques", **RANGE)
    assert (answer["exact"], answer["error"]) == (False, 0.016)
    assert answer["series"][0]["points"] == exact  # so few are known one by one
    whole = await analyst.points(event="view", measure="uniques", by="total", **RANGE)
    assert whole[0][1] == len({one["subject"] for one in events} - {None})
    with pytest.raises(TooManyRows):
        await analyst.ask("query", event="view", measure="uniques", by="hour", **RANGE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": TO, "to": FROM},
        {"from": FROM, "to": FROM},
        {"from": "1976-01-01"},
        {"from": "0001-01-01"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc/passwd"},
        {"by": "fortnight"},
        {"measure": "uniques", "breakdown": "page"},
        {"breakdown": "page", "top": 101},
        {"from": "2026-01-01", "by": "hour", "breakdown": "page"},
        {"from": f"{FROM}T01:00:00"},
        {"event": "No"},
        {"more": 1},
    ],
)
async def test_what_cannot_be_answered_is_refused(analyst: Analyst, wrong: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"event": "view", **RANGE} | wrong
    with pytest.raises(ValidationError):
        await analyst.ask("query", **asked)


async def test_fifty_years_of_months_are_answered(analyst: Analyst, events: list[Event]) -> None:
    points = await analyst.points(event="view", by="month", **{"from": "1976-01-01", "to": TO})
    assert sum(count for _, count in points) == len(events)
    assert len(points) > 600


async def test_a_tenant_is_told_of_its_own_events_only(analyst: Analyst, events: list[Event]) -> None:
    assert events
    for measure in ("count", "sum", "uniques"):
        assert all(
            count == 0 for _, count in await analyst.points("another", event="view", measure=measure, **RANGE)
        )

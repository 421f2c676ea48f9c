"""Buckets cover the range without a gap, in every zone, also where clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.analytics import Bucket
from services.analytics.buckets import are_whole_days, are_whole_hours, edges, labels

BERLIN, KATHMANDU = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia")


def berlin(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN)


def test_the_day_on_which_clocks_change_has_its_own_length() -> None:
    found = edges(berlin(2026, 3, 28), berlin(2026, 3, 31), "day", BERLIN)
    assert [(after - before) / timedelta(hours=1) for before, after in pairwise(found)] == [
        24,
        23,
        24,
    ]
    assert labels(found[:-1], "day", BERLIN) == ["2026-03-28", "2026-03-29", "2026-03-30"]


def test_the_hour_that_is_repeated_is_two_buckets() -> None:
    found = edges(berlin(2026, 10, 25, 2), berlin(2026, 10, 25, 4), "hour", BERLIN)
    assert labels(found[:-1], "hour", BERLIN) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("week", ["2026-11-23", "2026-11-30"]),
        ("month", ["2026-11-01", "2026-12-01"]),
        ("day", ["2026-11-29", "2026-11-30", "2026-12-01"]),
        ("total", ["2026-11-29"]),
    ],
)
def test_the_range_is_widened_to_whole_buckets(by: Bucket, expected: list[str]) -> None:
    found = edges(berlin(2026, 11, 29, 10, 30), berlin(2026, 12, 1, 0, 1), by, BERLIN)
    assert labels(found[:-1], by, BERLIN) == expected


def test_zones_that_overlap_hours_of_utc_are_known() -> None:
    begin, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)
    assert are_whole_hours(edges(begin, end, "day", BERLIN))
    assert not are_whole_days(edges(begin, end, "day", BERLIN))
    assert are_whole_days(edges(begin, end, "day", ZoneInfo("UTC")))
    assert not are_whole_hours(edges(begin, end, "day", KATHMANDU))


@example(datetime(2008, 9, 28), timedelta(days=6, seconds=55_800, microseconds=1), "hour", "Australia/Lord_Howe")
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=60)),
    st.sampled_from(get_args(Bucket)),
    st.sampled_from(ZONES),
)
def test_buckets_cover_the_range_in_order(begin: datetime, length: timedelta, by: Bucket, zone: str) -> None:
    start = begin.replace(tzinfo=UTC)
    found = edges(start, start + length, by, ZoneInfo(zone))
    assert found[0] <= start
    assert found[-1] >= start + length
    assert found == sorted(set(found))
    assert len(found) == 2 or found[-2] < start + length
    names = labels(found[:-1], by, ZoneInfo(zone))
    assert len(set(names)) == len(names)

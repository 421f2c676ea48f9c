"""Dates as sources write them."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.reading.dates import NOTHING, DateOutOfRange, UnreadableDate, moment

NEW_YORK = "America/New_York"


def written(value: Any, *, at_end: bool = True) -> tuple[str | None, str | None]:
    found = moment(value, NEW_YORK, at_end=at_end)
    return found.written, found.day


@pytest.mark.parametrize(
    "value",
    [
        *("2026-12-23", "20261223", "12/23/2026", "12/23/26", "23.12.2026", "2026/12/23", "Dec 23, 2026"),
        *("December 23 2026", "23 December 2026", "Wed, Dec. 23rd, 2026", "wednesday 23 dec 2026", " 2026-12-23 "),
        *("23-Dec-2026", 20261223, "23/12/2026"),
    ],
)
def test_a_day_ends_in_the_zone_of_the_source(value: Any) -> None:
    assert written(value) == ("2026-12-24T04:59:59+00:00", "2026-12-23")
    assert written(value, at_end=False) == ("2026-12-23T05:00:00+00:00", "2026-12-23")


@pytest.mark.parametrize(
    "value",
    [
        *("2026-07-01T17:00:00-04:00", "2026-07-01T21:00:00Z", "2026-07-01 17:00", "2026-07-01T17:00:00.000"),
        *(
            "Wed, 01 Jul 2026 21:00:00 GMT",
            "07/01/2026 5:00 PM",
            "July 1, 2026 at 5 p.m.",
            "July 1, 2026, 5:00pm EDT",
        ),
        *(
            "1 July 2026 17:00",
            "2026-07-01 21:00:00+00",
            "20260701T170000",
            1782939600,
            1782939600000,
            "1782939600",
        ),
    ],
)
def test_a_time_is_of_the_zone_that_it_names_or_of_the_source(value: Any) -> None:
    assert written(value) == ("2026-07-01T21:00:00+00:00", None)


def test_midnight_and_leap_seconds() -> None:
    assert written("July 1, 2026 24:00 UTC") == ("2026-07-02T00:00:00+00:00", None)
    assert written("1 Jul 2026 23:59:60 UTC") == ("2026-07-01T23:59:59+00:00", None)


@pytest.mark.parametrize("value", [None, "", "  ", "Ongoing", "TBD", "n/a", "No deadline", "Open until filled"])
def test_no_date(value: Any) -> None:
    assert moment(value, "UTC", at_end=True) == NOTHING


@pytest.mark.parametrize("value", ["9999-12-31", "0001-01-01T00:00:00Z", "0000-00-00", "12/31/9999"])
def test_a_date_that_stands_for_none(value: str) -> None:
    found = moment(value, NEW_YORK, at_end=True)
    assert found.is_sentinel
    assert (found.at, found.written, found.day) == (None, None, None)


@pytest.mark.parametrize("value", ["1899-12-31", "2201-01-01", "1 Jan 3000", 9_999_999_999_999, "-9999999999999"])
def test_dates_out_of_range(value: Any) -> None:
    with pytest.raises(DateOutOfRange):
        moment(value, "UTC", at_end=True)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "soon",
            "2026-13-01",
            "2026-02-30",
            "31/31/2026",
            "July 2026",
            "2026",
            "10",
            10,
            1.5,
            True,
            [],
            {},
            "x" * 500,
        ),
        *(
            "July 1, 2026 25:00",
            "July 1, 2026 13 PM",
            "July 1, 2026 5:00 XYZ",
            "1 Jul 2026 5",
            "1.1.",
            float("nan"),
        ),
    ],
)
def test_what_is_no_date(value: Any) -> None:
    with pytest.raises(UnreadableDate):
        moment(value, "UTC", at_end=True)


@given(st.datetimes(datetime(1901, 1, 1), datetime(2199, 1, 1)), st.integers(-12 * 60, 14 * 60))
def test_every_iso_moment_is_read(at: datetime, minutes: int) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    found = moment(aware.isoformat(), "UTC", at_end=True)
    assert found.at == aware
    assert found.written == aware.astimezone(UTC).isoformat()


@given(
    st.dates(date(1901, 1, 1), date(2199, 1, 1)),
    st.sampled_from(["UTC", NEW_YORK, "Pacific/Apia", "Asia/Kolkata"]),
)
def test_every_day_is_read_in_every_form(day: date, zone: str) -> None:
    forms = [
        day.isoformat(),
        f"{day:%Y%m%d}",
        f"{day:%m/%d/%Y}",
        f"{day:%d.%m.%Y}",
        f"{day:%B %d, %Y}",
        f"{day:%d %b %Y}",
    ]
    found = {moment(form, zone, at_end=True) for form in forms}
    assert len(found) == 1
    assert found.pop().day == day.isoformat()


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats(), st.text("0123456789/-.: TZ+", max_size=25)))
def test_nothing_else_happens(value: Any) -> None:
    try:
        found = moment(value, NEW_YORK, at_end=False)
    except (UnreadableDate, DateOutOfRange):
        return
    assert (found.at is None) == (found.written is None)

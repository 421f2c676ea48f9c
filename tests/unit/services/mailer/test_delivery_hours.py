"""When a recipient may be written to, by their own clock, also on the days when that is changed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.mail import Letter
from services.mailer.delivery_hours import wait_s


def letter(**how: object) -> Letter:
    return Letter.model_validate({"from": "a@b.test", **how})


NIGHT = {"begin": "22:00", "end": "07:30"}


@pytest.mark.parametrize(
    ("how", "zone", "now", "hours"),
    [
        ({}, None, "2026-11-25T12:00", 0.0),
        ({"local_time": "09:00"}, "Europe/Berlin", "2026-11-25T07:00", 1.0),
        ({"local_time": "09:00"}, "Europe/Berlin", "2026-11-25T08:00", 0.0),
        ({"local_time": "09:00"}, "Europe/Berlin", "2026-11-25T08:30", 23.5),
        ({"local_time": "09:00", "time_zone": "Asia/Tokyo"}, None, "2026-11-24T22:00", 2.0),
        ({"quiet_hours": NIGHT}, "UTC", "2026-11-25T23:00", 8.5),
        ({"quiet_hours": NIGHT}, "UTC", "2026-11-25T05:30", 2.0),
        ({"quiet_hours": NIGHT}, "UTC", "2026-11-25T07:30", 0.0),
        ({"quiet_hours": NIGHT}, "America/New_York", "2026-11-25T12:00", 0.5),
        ({"local_time": "23:00", "quiet_hours": NIGHT}, "UTC", "2026-11-25T12:00", 19.5),
        # 02:30 does not exist in Berlin on 29 March 2026; the clock shows 03:30 then.
        ({"local_time": "02:30"}, "Europe/Berlin", "2026-03-29T00:00", 1.5),
        # 02:30 comes twice on 25 October 2026; the first one counts, at 00:30 UTC.
        ({"local_time": "02:30"}, "Europe/Berlin", "2026-10-25T00:00", 0.5),
    ],
)
def test_when_somebody_may_be_written_to(how: dict[str, object], zone: str | None, now: str, hours: float) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert wait_s(letter(**how), zone, moment, is_first=True) == hours * 3600


@pytest.mark.parametrize(
    ("hours", "now", "waits"),
    [
        # Berlin's clock shows 02:00 to 03:00 twice on 25 October 2026, from 00:00 UTC on; the first 02:30 counts.
        (("22:00", "02:30"), "2026-10-25T00:15", 0.25),
        (("22:00", "02:30"), "2026-10-25T01:15", 0.0),
        (("02:30", "06:00"), "2026-10-25T01:15", 3.75),
        # On 29 March 2026 it has no 02:30; that is when it shows 03:30, at 01:30 UTC.
        (("22:00", "02:30"), "2026-03-29T01:10", 1 / 3),
        (("02:30", "06:00"), "2026-03-29T01:10", 0.0),
        (("08:00", "08:00"), "2026-03-29T08:10", 0.0),
    ],
)
def test_quiet_hours_on_the_days_when_the_clock_is_changed(hours: tuple[str, str], now: str, waits: float) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    begin, end = hours
    quiet = letter(quiet_hours={"begin": begin, "end": end})
    assert wait_s(quiet, "Europe/Berlin", moment, is_first=False) == pytest.approx(waits * 3600)


CLOCKS = st.times().map(lambda time: f"{time:%H:%M}")
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"])
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(zone=ZONES, now=MOMENTS, begin=CLOCKS, end=CLOCKS)
def test_who_has_waited_may_be_written_to_and_nobody_waits_a_day(
    zone: str, now: datetime, begin: str, end: str
) -> None:
    quiet = letter(quiet_hours={"begin": begin, "end": end})
    waits_s = wait_s(quiet, zone, now, is_first=False)
    assert wait_s(quiet, zone, now + timedelta(seconds=waits_s), is_first=False) == 0.0
    length = datetime.fromisoformat(f"2026-01-02 {end}") - datetime.fromisoformat(f"2026-01-02 {begin}")
    assert waits_s <= (length % timedelta(days=1)).total_seconds() + 3600, (
        "an hour more where the clock is changed"
    )

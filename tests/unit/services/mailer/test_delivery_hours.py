"""When a recipient may be written to, by their own clock, also on the days when that is changed."""

from datetime import UTC, datetime

import pytest

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

"""When a recipient may be written to, by the clock where they are.

Where the clock is put forward a time that does not exist counts as the same while later; where it is put back, the
first of two counts.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from libs.common.contracts.mail import Letter, clock


def wait_s(letter: Letter, zone: str | None, now: datetime, *, is_first: bool) -> float:
    """Seconds from `now` until a recipient in `zone` may be written to; 0.0: at once.

    `is_first`: whether the letter's own time of day still has to come.
    """
    here = ZoneInfo(zone or letter.time_zone)
    due = now
    if is_first and letter.local_time is not None:
        due = _next(letter.local_time, here, now)
    if letter.quiet_hours is not None:
        end = _next(letter.quiet_hours.end, here, due)
        if end < _next(letter.quiet_hours.begin, here, due + timedelta.resolution):
            due = end
    return max(0.0, (due - now).total_seconds())


def _next(time_of_day: str, here: ZoneInfo, after: datetime) -> datetime:
    """The next time that the clock `here` shows `time_of_day`."""
    day = after.astimezone(here).date()
    for later in range(3):
        found = datetime.combine(day + timedelta(days=later), clock(time_of_day), here).astimezone(UTC)
        if found >= after:
            return found
    raise AssertionError("there is one every day")

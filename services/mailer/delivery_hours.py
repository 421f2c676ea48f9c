"""When a letter may be delivered to a recipient, by the recipient's local time.

Daylight saving time: a local time that does not exist is shifted later by the length of the gap. Of a local time
that occurs twice, the first occurrence counts.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from libs.common.contracts.mail import Letter, clock


def wait_s(letter: Letter, zone: str | None, now: datetime, *, is_first: bool) -> float:
    """Return the seconds from `now` until a recipient in `zone` may get the letter; 0.0: at once.

    `is_first`: whether the letter's `local_time` applies. It does when the letter is stored, not at later tries.
    """
    local_zone = ZoneInfo(zone or letter.time_zone)
    due = now
    if is_first and letter.local_time is not None:
        due = _next_occurrence(letter.local_time, local_zone, now)
    if letter.quiet_hours is not None:
        end = _next_occurrence(letter.quiet_hours.end, local_zone, due)
        if end < _next_occurrence(letter.quiet_hours.begin, local_zone, due + timedelta.resolution):
            due = end
    return max(0.0, (due - now).total_seconds())


def _next_occurrence(time_of_day: str, local_zone: ZoneInfo, after: datetime) -> datetime:
    """Return the next moment, not before `after`, at which the local time is `time_of_day`."""
    day = after.astimezone(local_zone).date()
    for later in range(3):
        found = datetime.combine(day + timedelta(days=later), clock(time_of_day), local_zone).astimezone(UTC)
        if found >= after:
            return found
    raise AssertionError("there is one every day")

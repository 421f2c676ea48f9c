"""The buckets of a query: hours, days, weeks or months of a time zone, also where its clocks change.

PostgreSQL is given the moments at which buckets begin, and so needs to know no time zone.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from libs.common.contracts.analytics import Bucket

HOUR = timedelta(hours=1)


def edges(begin: datetime, end: datetime, by: Bucket, zone: ZoneInfo) -> list[datetime]:
    """The moments in UTC at which buckets begin, and the end of the last one; together they cover the range.

    Hours go on as they began where clocks change by half an hour, as on Lord Howe Island.
    """
    if by in ("hour", "total"):
        first = _floor_hour(begin, zone)
        hours = -((first - end) // HOUR)  # rounded up
        if by == "total":
            return [first, first + hours * HOUR]
        return [first + n * HOUR for n in range(hours + 1)]
    day = _first_day(begin.astimezone(zone).date(), by)
    found = [_midnight(day, zone)]
    while found[-1] < end:
        day = _next(day, by)
        found.append(_midnight(day, zone))
    return found


def labels(moments: Sequence[datetime], by: Bucket, zone: ZoneInfo) -> list[str]:
    """How buckets that begin at these moments are called: by their date, or by the hour with its offset."""
    local = [moment.astimezone(zone) for moment in moments]
    if by == "hour":
        return [moment.isoformat(timespec="minutes") for moment in local]
    return [moment.date().isoformat() for moment in local]


def are_whole_hours(moments: Sequence[datetime]) -> bool:
    """Whether hours of UTC do not overlap these edges. In zones such as Asia/Kolkata they do."""
    return all(moment.minute == moment.second == 0 for moment in moments)


def are_whole_days(moments: Sequence[datetime]) -> bool:
    """Whether days of UTC do not overlap these edges."""
    return all(moment.time() == time() for moment in moments)


def _floor_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    """When the hour of the zone began; in the hour that is repeated, each of the two."""
    local = moment.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return moment.astimezone(UTC) - into


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins. Where clocks skip midnight, it begins when they have."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _first_day(day: date, by: Bucket) -> date:
    if by == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by == "month" else day


def _next(day: date, by: Bucket) -> date:
    if by == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if by == "week" else 1)

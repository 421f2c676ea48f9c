"""Dates and times, as sources write them: a moment in UTC, and the day where no time was given.

Fields of one page repeat the same few dates, and most are ISO 8601: the first way is fast, and all is remembered.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

YEARS = range(1900, 2201)
REMEMBERED = 10_000
MILLISECONDS_FROM = 100_000_000_000
"""A larger number is of milliseconds since 1970: as seconds it would be in the year 5138."""
NO_DATE = frozenset(
    (
        *(
            "",
            "-",
            "--",
            "n/a",
            "na",
            "none",
            "null",
            "nil",
            "tbd",
            "tba",
            "unknown",
            "varies",
            "various",
            "ongoing",
        ),
        *(
            "on-going",
            "rolling",
            "continuous",
            "continuously",
            "open",
            "open until filled",
            "until filled",
            "never",
        ),
        *("not specified", "to be determined", "to be announced", "anytime", "year-round", "no deadline"),
    )
)
"""What is written in place of a date that there is not."""
ZONES = {
    "Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6,
    "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "HST": -10, "CET": 1, "CEST": 2, "BST": 1,
}  # fmt: skip
"""Hours from UTC. Those of RFC 5322, and a few that sources use."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBERS = re.compile(r"-?\d{9,13}(?:\.\d+)?")
_WORD = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_FORMS = tuple(
    re.compile(_WEEKDAY + form + r"(?P<rest>(?:\D.*)?)", re.IGNORECASE)
    for form in (
        rf"{_DAY}[\s-]+{_WORD},?[\s-]+{_YEAR}",
        rf"{_WORD}\s+{_DAY},?\s+{_YEAR}",
        r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})",
        r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
    )
)
_TIME = re.compile(
    r"(?:[,T]|\bat\b|\s|-)*(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*\(?(?P<zone>[+-]\d{2}:?\d{2}|[+-]\d{2}|[A-Za-z]{1,5})?\)?\.?",
    re.IGNORECASE,
)


class UnreadableDate(ValueError):
    """This is no date."""


class DateOutOfRange(ValueError):
    """The date is before 1900 or after 2200."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`written`: in UTC, as ISO 8601. `day`: as YYYY-MM-DD in the source's zone, where no time was given."""

    at: datetime | None
    written: str | None
    day: str | None
    is_sentinel: bool = False
    """There was a date that stands for none, of the year 0, 1 or 9999; so there is no moment."""


NOTHING = Moment(None, None, None)
SENTINEL = Moment(None, None, None, is_sentinel=True)


def moment(value: Any, zone: str, *, at_end: bool) -> Moment:
    """When `value` is. A day without a time begins at 0:00:00, or `at_end` ends at 23:59:59, in `zone`.

    Raises UnreadableDate and DateOutOfRange.
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnreadableDate
    return _moment(str(value), zone, at_end)


@lru_cache(maxsize=REMEMBERED)
def _moment(text: str, zone: str, at_end: bool) -> Moment:
    text = text.strip()
    if text.casefold() in NO_DATE:
        return NOTHING
    if len(text) > 100:
        raise UnreadableDate
    if text.startswith("0000"):
        return SENTINEL
    found = _iso(text) or _number(text) or _spelled(text)
    if found.year in (1, 9999):
        return SENTINEL
    if found.year not in YEARS:
        raise DateOutOfRange
    day = None
    if not isinstance(found, datetime):
        day = found.isoformat()
        found = datetime.combine(found, time(23, 59, 59) if at_end else time())
    at = (found if found.tzinfo else found.replace(tzinfo=_zone(zone))).astimezone(UTC)
    return Moment(at, at.isoformat(), day)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


def _iso(text: str) -> date | datetime | None:
    try:
        if len(text) == 10 or len(text) == 8:
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _number(text: str) -> datetime | None:
    if not _NUMBERS.fullmatch(text):
        return None
    seconds = float(text)
    try:
        return datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise DateOutOfRange from None


def _spelled(text: str) -> date | datetime:
    for day, rest in _spelled_days(text):
        if not rest.strip(" .,T"):
            return day
        if found := _TIME.fullmatch(rest.strip()):
            return _with_time(day, found)
    raise UnreadableDate


def _spelled_days(text: str) -> Iterator[tuple[date, str]]:
    for form in _FORMS:
        if found := form.fullmatch(text):
            year, month, day = (found[name].lower() for name in ("year", "month", "day"))
            number = MONTHS.index(month) + 1 if month.isalpha() else int(month)
            days = int(day)
            if number > 12 and "/" in text:  # most that write so name the month first
                number, days = days, number
            try:
                yield date(int(year) + (2000 if len(year) == 2 else 0), number, days), found["rest"]
            except ValueError:
                continue


def _with_time(day: date, found: re.Match[str]) -> datetime:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"]:
        if not 1 <= hour <= 12:
            raise UnreadableDate
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    elif found["minute"] is None:
        raise UnreadableDate
    if hour == 24 and minute == second == 0:
        day, hour = day + timedelta(days=1), 0
    try:
        return datetime.combine(day, time(hour, minute, min(second, 59), tzinfo=_offset(found["zone"])))
    except ValueError:
        raise UnreadableDate from None


def _offset(zone: str | None) -> tzinfo | None:
    if not zone:
        return None
    if zone[0] in "+-":
        minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
        return timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes))
    hours = ZONES.get(zone.upper())
    if hours is None:
        raise UnreadableDate
    return timezone(timedelta(hours=hours))

"""When a source may be asked again, by what it said itself: Retry-After, max-age, ttl and skipHours."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

AT_MOST = timedelta(days=14)
"""More is not believed."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)


def retry_after(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """The moment of a header Retry-After, in either form: seconds or a date."""
    said = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,12}", said):
        return min(now + timedelta(seconds=min(int(said), AT_MOST.total_seconds())), now + AT_MOST)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return None
    return min(max(at if at.tzinfo else at.replace(tzinfo=UTC), now), now + AT_MOST)


def fresh_until(
    headers: Mapping[str, str],
    now: datetime,
    *,
    ttl_s: int | None = None,
    skip_hours: Collection[int] = (),
    interval_s: int = 0,
) -> datetime | None:
    """Before when the source asks not to be asked again; None: it says nothing.

    `skip_hours`: hours of the day in UTC. `interval_s`: it is not asked earlier than that anyhow.
    """
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    seconds = max(int(found[1]) if found else 0, ttl_s or 0)
    hours = set(skip_hours) if len(set(skip_hours)) < 24 else set[int]()
    if not seconds and not hours:
        return None
    until = now + timedelta(seconds=min(seconds, AT_MOST.total_seconds()))
    if hours:
        until = max(until, now + timedelta(seconds=interval_s)).astimezone(UTC)
        while until.hour in hours:
            until = until.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return min(until, now + AT_MOST)

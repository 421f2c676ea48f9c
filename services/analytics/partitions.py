"""The months of which events are kept. A month's events are one partition, which is dropped as a whole."""

from datetime import UTC, date, datetime, timedelta

from libs.common import metrics
from libs.common.db import Connection, Database, fetch_within

AHEAD = timedelta(days=40)
"""Partitions are made so long before they are needed: a night without housekeeping does no harm, nor do many."""
_KEEP = "SELECT analytics.keep_partitions($1, $2)"
# No partition is dropped before the caller's transaction has ended.
_LOCK = "LOCK TABLE analytics.events IN ROW EXCLUSIVE MODE"
_MONTHS = """
SELECT to_date(right(relname, 6), 'YYYYMM') FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'analytics.events'::regclass ORDER BY 1
"""


async def keep(database: Database, retention_days: int) -> None:
    """Make the partitions that will be needed, and drop those whose events are all older. Raises Unavailable."""
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=retention_days), today + AHEAD
    ((end,),) = await database.fetch(_KEEP, first, last)
    metrics.partitions_ahead_days.set((end - today).days)


async def months_within(connection: Connection) -> set[date]:
    """The first days of the months of which there are partitions, until the end of the caller's transaction."""
    await fetch_within(connection, _LOCK)
    return {row[0] for row in await fetch_within(connection, _MONTHS)}


async def months(database: Database) -> list[date]:
    """The first days of the months of which there are partitions, in order. Raises Unavailable."""
    return [row[0] for row in await database.fetch(_MONTHS)]


def month_of(day: date) -> date:
    """The first day of its month."""
    return day.replace(day=1)


def month_after(month: date) -> date:
    """The first day of the next month."""
    return (month + timedelta(days=31)).replace(day=1)

"""Partitions are there before they are needed, and go as a whole."""

from datetime import UTC, datetime, timedelta

from services.analytics import partitions
from tests.analysing import NOW, Analyst, event


async def test_there_are_partitions_for_all_days_that_are_kept(analyst: Analyst) -> None:
    months = await partitions.months(analyst.database)
    today = datetime.now(UTC).date()
    assert months[0] <= today - timedelta(days=400)
    assert partitions.month_after(months[-1]) > today + timedelta(days=30)
    following = [partitions.month_after(month) for month in months]
    assert following[:-1] == months[1:]
    await partitions.keep(analyst.database, 400)
    assert await partitions.months(analyst.database) == months


async def test_what_is_dropped_does_not_come_back(analyst: Analyst) -> None:
    old = event("old", at=NOW - timedelta(days=100))
    assert (await analyst.count([old]))["counted"] == 1
    counted = await analyst.rollups()
    await partitions.keep(analyst.database, 30)
    assert (await partitions.months(analyst.database))[0] <= NOW.date() - timedelta(days=30)
    assert await analyst.database.fetch("SELECT FROM analytics.events") == []
    assert (await analyst.count([old]))["reasons"] == {"too_old": 1}
    await partitions.keep(analyst.database, 400)
    assert (await analyst.count([old]))["reasons"] == {"too_old": 1}
    assert await analyst.rollups() == counted


async def test_no_partition_goes_while_events_are_counted(analyst: Analyst) -> None:
    async with analyst.database.begin(tenant="acme") as connection:
        months = await partitions.months_within(connection)
        assert partitions.month_of(NOW.date()) in months
        locked = await analyst.database.fetch(
            "SELECT count(*) FROM pg_locks"
            " WHERE relation = 'analytics.events'::regclass AND mode = 'RowExclusiveLock'"
        )
        assert locked[0][0] == 1

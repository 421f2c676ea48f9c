"""Recurring jobs in the ledger: however many dispatchers fire them, each time is one job."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Database
from libs.common.ledger import schedules
from libs.common.ledger.jobs import new_id
from libs.common.ledger.schedules import CatchUp, Fired

FIELDS = {"priority": "normal", "max_attempts": 3, "timeout_s": 60.0, "tags": ["r"], "unique_for": None}


async def hourly(
    database: Database, *, due: timedelta, catch_up: CatchUp = CatchUp.ALL, payload: bytes = b'{"n": 1}'
) -> UUID:
    """A schedule whose first unserved time is the full hour that long ago."""
    schedule = new_id()
    facts: dict[str, Any] = {
        "name": str(schedule),
        "queue": "q",
        "kind": "k",
        "payload": payload,
        "fields": FIELDS,
    }
    await schedules.create(
        database, "dev", "key", schedule=schedule, cron="0 * * * *", timezone="UTC", catch_up=catch_up, **facts
    )
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    await database.fetch("UPDATE ledger.schedules SET next_at = $1 WHERE id = $2", hour - due, schedule)
    return schedule


async def test_many_dispatchers_make_one_job_for_each_time(database: Database) -> None:
    schedule = await hourly(database, due=timedelta(hours=4))
    rounds: list[Fired] = await asyncio.gather(*(schedules.fire(database) for _ in range(5)))
    rows = await database.fetch("SELECT schedule, payload, tags, max_attempts FROM ledger.jobs")
    assert [tuple(row) for row in rows] == [(schedule, {"n": 1}, ["r"], 3)] * 5
    assert sum(len(fired.late_s) for fired in rounds) == 5  # told by one of them
    assert await schedules.fire(database) == Fired()


async def test_more_schedules_than_are_read_together_fire_in_one_call(database: Database) -> None:
    for _ in range(schedules.DUE_AT_A_TIME + 1):
        await hourly(database, due=timedelta(hours=0))
    fired = await schedules.fire(database)
    assert len(fired.late_s) == schedules.DUE_AT_A_TIME + 1
    assert await schedules.fire(database) == Fired()


async def test_runs_with_large_payloads_are_made_in_parts(database: Database) -> None:
    large = b'{"text": "%s"}' % (b"x" * (schedules.CREATED_BYTES // 4))
    await hourly(database, due=timedelta(hours=9), payload=large)
    await schedules.fire(database)
    ((jobs, sizes),) = await database.fetch(
        "SELECT count(*), count(DISTINCT length(payload::text)) FROM ledger.jobs"
    )
    assert (jobs, sizes) == (10, 1)


async def test_what_was_missed_is_counted(database: Database) -> None:
    schedule = await hourly(database, due=timedelta(hours=4), catch_up=CatchUp.ONE)
    fired = await schedules.fire(database)
    assert (len(fired.late_s), fired.missed) == (1, 4)
    facts = await schedules.find(database, "dev", schedule)
    assert facts is not None
    assert facts["missed"] == 4
    assert facts["next_at"] > datetime.now(UTC)


async def test_a_paused_schedule_makes_nothing(database: Database) -> None:
    schedule = await hourly(database, due=timedelta(hours=1))
    await schedules.change(
        database, "dev", schedule, cron="0 * * * *", timezone="UTC", catch_up=CatchUp.ALL, paused=True
    )
    await database.fetch("UPDATE ledger.schedules SET next_at = now() - interval '1 hour' WHERE id = $1", schedule)
    assert await schedules.fire(database) == Fired()


async def test_those_that_nobody_fires_are_overdue(database: Database) -> None:
    await schedules.fire(database)  # those of the fleet itself
    await hourly(database, due=timedelta(hours=-1))
    paused = await hourly(database, due=timedelta(hours=1))
    await database.fetch("UPDATE ledger.schedules SET paused_at = now() WHERE id = $1", paused)
    assert await schedules.overdue(database) == 0
    await hourly(database, due=timedelta(hours=1))
    assert await schedules.overdue(database) == 1
    await schedules.fire(database)
    assert await schedules.overdue(database) == 0


async def test_a_schedule_that_can_no_longer_be_read_does_not_hold_up_the_others(database: Database) -> None:
    schedule = await hourly(database, due=timedelta(hours=0))
    await database.fetch("UPDATE ledger.schedules SET timezone = 'Gone/Away' WHERE id = $1", schedule)
    assert (await schedules.fire(database)).missed == 1
    facts = await schedules.find(database, "dev", schedule)
    assert facts is not None
    assert facts["next_at"] is None


async def test_a_tenant_never_has_more_than_the_maximum(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SCHEDULES_AT_MOST", 5)
    later = timedelta(hours=-1)
    made = await asyncio.gather(*(hourly(database, due=later) for _ in range(12)), return_exceptions=True)
    assert [isinstance(one, schedules.TooManySchedules) for one in made].count(True) == 7
    ((number,),) = await database.fetch("SELECT count(*) FROM ledger.schedules WHERE tenant <> 'argosy'")
    assert number == 5

"""After an erasure nothing in any table is by the subject, and a late copy stays out."""

import random
from datetime import timedelta

import asyncpg

from libs.common.config import DatabaseSettings
from libs.common.contracts.analytics import ErasePayload, HousekeepingPayload
from tests.analysing import NOW, Analyst, event, generated

SUBJECT = "somebody-in-particular"
ALL_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""


async def tables_that_name(settings: DatabaseSettings, text: str) -> list[str]:
    """The tables of the database, of any schema, of which a row has `text` in it."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        tables = [row[0] for row in await connection.fetch(ALL_TABLES)]
        assert "ledger.jobs" in tables
        return [
            table
            for table in tables
            if await connection.fetch(f"SELECT FROM {table} t WHERE t::text LIKE '%' || $1 || '%' LIMIT 1", text)
        ]
    finally:
        await connection.close()


async def send_some(analyst: Analyst) -> int:
    """Events of the subject over two months, and of others. Returns how many are the subject's."""
    mine = [event(f"m{n}", at=NOW - timedelta(days=n * 5), subject=SUBJECT, page="/") for n in range(12)]
    others = generated(random.Random(2), 50)  # noqa: S311 - a test's
    bad = [event("bad", subject=SUBJECT) | {"name": "No"}]
    await analyst.type("view", dimensions=["page"])
    await analyst.count([*mine, *others, *bad])
    return len(mine)


async def test_nothing_is_left_in_any_table(analyst: Analyst, database_settings: DatabaseSettings) -> None:
    mine = await send_some(analyst)
    assert await tables_that_name(database_settings, SUBJECT)
    before = await analyst.rollups()
    assert await analyst.run(ErasePayload(subject=SUBJECT)) == {"erased": mine, "rejected": 1}
    assert await tables_that_name(database_settings, SUBJECT) == []
    assert await analyst.rollups() == before
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0


async def test_a_late_copy_stays_out_and_a_later_event_counts(
    analyst: Analyst, database_settings: DatabaseSettings
) -> None:
    await send_some(analyst)
    await analyst.run(ErasePayload(subject=SUBJECT))
    result = await analyst.count([event("late", at=NOW - timedelta(days=3), subject=SUBJECT)])
    assert result["reasons"] == {"erased": 1}
    assert await tables_that_name(database_settings, SUBJECT) == []
    result = await analyst.count([event("new", at=NOW + timedelta(minutes=50), subject=SUBJECT)])
    assert result["counted"] == 1
    result = await analyst.count([event("other", subject=SUBJECT)], tenant="another")
    assert result["counted"] == 1


async def test_on_request_nothing_of_the_subject_is_counted_either(analyst: Analyst) -> None:
    others = generated(random.Random(2), 50)  # noqa: S311 - a test's
    await analyst.type("view", dimensions=["page"])
    await analyst.count(others)
    without, estimates = await analyst.rollups(), await analyst.estimates()
    await analyst.count(
        [event(f"m{n}", at=NOW - timedelta(hours=n * 5), subject=SUBJECT, page="/") for n in range(12)]
    )
    assert await analyst.rollups() != without
    await analyst.run(ErasePayload(subject=SUBJECT, rebuild=True))
    assert await analyst.rollups() == without
    found = await analyst.estimates()
    assert {key: found[key] for key in estimates} == estimates
    assert sum(found.values()) == sum(estimates.values())


async def test_erasing_somebody_unknown_keeps_them_out(analyst: Analyst) -> None:
    assert await analyst.run(ErasePayload(subject="nobody")) == {"erased": 0, "rejected": 0}
    assert (await analyst.count([event("a", at=NOW - timedelta(hours=1), subject="nobody")]))["rejected"] == 1


async def test_counting_meanwhile_lets_nothing_slip_in(
    analyst: Analyst, database_settings: DatabaseSettings
) -> None:
    at = NOW - timedelta(hours=2)
    for n in range(20):
        await analyst.send([event(f"e{n}:{m}", at=at, subject=SUBJECT) for m in range(20)])
    await analyst.submit(ErasePayload(subject=SUBJECT))
    for n in range(20, 40):
        await analyst.send([event(f"e{n}:{m}", at=at, subject=SUBJECT) for m in range(20)])
    await analyst.work(workers=4)
    assert await tables_that_name(database_settings, SUBJECT) == []
    assert (await analyst.run(HousekeepingPayload(), tenant="argosy"))["drift"] == 0

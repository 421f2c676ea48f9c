"""The pool: its bounds, its figures, and what it does when connections die under it."""

import asyncio

import pytest

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from libs.common.errors import Unavailable
from tests.polling import until

KILL_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'argosy-victim'"


def settings(url: str, **changes: int) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": url, **changes})


async def test_the_minimum_is_open_from_the_start_and_named(database_url: str, database: Database) -> None:
    async with db.connect(settings(database_url), "victim", role=None) as pool:
        assert pool.stats() == db.PoolStats(total=2, in_use=0, idle=2, waiting=0)
        (row,) = await database.fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'argosy-victim'"
        )
        assert row[0] == 2


async def test_callers_beyond_the_maximum_wait_and_are_counted(database_url: str) -> None:
    async with db.connect(settings(database_url, db_max_connections=2), "test", role=None) as pool:
        release = asyncio.Event()

        async def hold() -> None:
            async with pool.begin():
                await release.wait()

        holders = [asyncio.create_task(hold()) for _ in range(5)]

        async def crowded() -> bool:
            return pool.stats().waiting == 3

        await until(crowded)
        assert pool.stats() == db.PoolStats(total=2, in_use=2, idle=0, waiting=3)
        release.set()
        await asyncio.gather(*holders)
        assert pool.stats().waiting == 0


async def test_waiting_for_a_connection_ends_with_the_timeout(database_url: str) -> None:
    bounds = settings(database_url, db_max_connections=1, db_min_connections=1, db_connection_timeout=1000)
    async with db.connect(bounds, "test", role=None) as pool, pool.begin():
        with pytest.raises(Unavailable):
            await pool.fetch("SELECT 1")


async def test_idle_connections_above_the_minimum_are_closed(database_url: str) -> None:
    async with db.connect(settings(database_url, db_idle_timeout=1), "test", role=None) as pool:
        await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(6)))
        assert pool.stats().total == 6

        async def swept() -> bool:
            pool._pool.close_idle()
            return pool.stats() == db.PoolStats(total=2, in_use=0, idle=2, waiting=0)

        await until(swept)
        await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(6)))
        assert pool.stats().total == 6


async def test_connections_in_use_lately_are_kept(database_url: str) -> None:
    async with db.connect(settings(database_url), "test", role=None) as pool:
        await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(6)))
        pool._pool.close_idle()
        assert pool.stats().total == 6


async def test_connections_that_died_idle_are_exchanged_unnoticed(database_url: str, database: Database) -> None:
    async with db.connect(settings(database_url), "victim", role=None) as pool:
        await database.fetch(KILL_OTHERS)

        async def gone() -> bool:
            rows = await database.fetch("SELECT 1 FROM pg_stat_activity WHERE application_name = 'argosy-victim'")
            return not rows

        await until(gone)
        await asyncio.sleep(0)

        async def works() -> bool:
            try:
                return bool((await pool.fetch("SELECT 42"))[0][0] == 42)
            except Unavailable:
                return False

        await until(works)
        async with pool.begin() as connection:
            assert (await connection.exec_driver_sql("SELECT 43")).scalar_one() == 43


async def test_a_connection_killed_in_the_act_is_unavailable(database_url: str, database: Database) -> None:
    async with db.connect(settings(database_url), "victim", role=None) as pool:
        sleeping = asyncio.create_task(pool.fetch("SELECT pg_sleep(600)"))

        async def killed() -> bool:
            rows = await database.fetch(KILL_OTHERS + " AND query LIKE '%pg_sleep%'")
            return bool(rows)

        await until(killed)
        with pytest.raises(Unavailable):
            await sleeping
        assert (await pool.fetch("SELECT 1"))[0][0] == 1


async def test_a_transaction_rolls_back_where_it_raises(database: Database) -> None:
    await database.fetch("CREATE TABLE t (n int)")

    async def fail_half_way() -> None:
        async with database.begin() as connection:
            await connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert await database.fetch("SELECT * FROM t") == []


async def test_an_absent_server_is_unavailable_after_the_patience() -> None:
    with pytest.raises(Unavailable):
        async with db.connect(settings("postgresql://u:p@127.0.0.1:1/d"), "test", role=None, patience_s=0):
            pass

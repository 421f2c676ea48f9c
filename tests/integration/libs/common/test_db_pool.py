"""Which connections may still be used: after a failover, a silence, an error, a long life."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from libs.common.db_opening import Driver, Servers
from libs.common.errors import Unavailable
from tests.network import Network
from tests.polling import until

PID = "SELECT pg_backend_pid(), pg_sleep(0.1)"
CONNECTIONS = 4


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Database]:
    settings = DatabaseSettings.model_validate({"database_url": database_url, "db_max_connections": CONNECTIONS})
    async with db.connect(settings, "victim", role=None) as opened:
        yield opened


async def processes(pool: Database) -> set[int]:
    """The server's processes behind all connections of the pool."""

    async def all_at_once() -> set[int]:
        rows = await asyncio.gather(*(pool.fetch(PID) for _ in range(CONNECTIONS)))
        found = {row[0][0] for row in rows}
        return found if len(found) == CONNECTIONS else set()

    return await until(all_at_once)


async def test_a_server_that_shuts_down_renews_all_connections(pool: Database, database: Database) -> None:
    before = await processes(pool)
    sleeping = asyncio.create_task(pool.fetch("SELECT pg_sleep(600)", timeout_s=600))

    async def killed() -> bool:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'"
        return bool(await database.fetch(f"{kill} AND datname = current_database()"))

    await until(killed)
    with pytest.raises(Unavailable):
        await sleeping
    assert not before & await processes(pool)


async def test_connections_that_become_suspect_while_they_open_are_unavailable(
    pool: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Servers.open

    async def suspect(servers: Servers) -> Driver:
        driver = await opened(servers)
        pool._pool._renew("another connection was lost meanwhile")
        return driver

    await processes(pool)
    with monkeypatch.context() as patched:
        patched.setattr(Servers, "open", suspect)
        pool._pool._renew("the server is about to go")
        for _ in range(2 * CONNECTIONS):
            with pytest.raises(Unavailable):
                await pool.fetch("SELECT 1")
    assert await pool.fetch("SELECT 1") == [(1,)]


async def test_an_answer_of_a_server_that_takes_no_more_writes_is_none(pool: Database) -> None:
    before = await processes(pool)
    with pytest.raises(Unavailable, match="no longer takes writes"):
        await pool.fetch("SET default_transaction_read_only = on")
    assert not before & await processes(pool)


async def test_a_refused_write_in_a_transaction_renews_all_connections(pool: Database) -> None:
    before = await processes(pool)
    with pytest.raises(Unavailable, match="read-only"):
        async with pool.begin() as connection:
            await db.fetch_within(connection, "DO 'BEGIN SET TRANSACTION READ ONLY; CREATE TABLE t (); END'")
    assert not before & await processes(pool)


async def test_an_ordinary_error_renews_none(pool: Database) -> None:
    before = await processes(pool)
    with pytest.raises(Exception, match="does not exist"):
        await pool.fetch("SELECT nothing")
    with pytest.raises(Exception, match="division by zero"):
        async with pool.begin() as connection:
            await db.fetch_within(connection, "SELECT 1 / 0")
    assert before == await processes(pool)


async def test_a_statement_that_takes_too_long_is_cancelled_and_makes_the_others_suspect(
    pool: Database, database: Database
) -> None:
    before = await processes(pool)
    with pytest.raises(Unavailable):
        await pool.fetch("SELECT pg_sleep(601)", timeout_s=0.5)

    async def cancelled() -> bool:
        return not await database.fetch("SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(601)%'")

    await until(cancelled)
    assert not before & await processes(pool)


async def test_a_transaction_has_as_long_as_it_says(pool: Database) -> None:
    with pytest.raises(Unavailable):
        async with pool.begin(timeout_s=0.5) as connection:
            await db.fetch_within(connection, "SELECT pg_sleep(600)")
    assert (await pool.fetch("SELECT 1"))[0][0] == 1


async def test_a_silent_server_holds_nobody_up(database_url: str) -> None:
    async with Network(database_url).open() as network:
        settings = DatabaseSettings.model_validate({"database_url": network.url})
        async with db.connect(settings, "victim", role=None) as pool:
            network.hold_up()

            async def transact() -> None:
                async with pool.begin(timeout_s=1) as connection:
                    await db.fetch_within(connection, "SELECT 1")

            begun = time.monotonic()
            answers = await asyncio.gather(
                *(pool.fetch("SELECT 1", timeout_s=1) for _ in range(3)),
                *(pool.fetch("SELECT 1", tenant="dev", timeout_s=1) for _ in range(3)),
                *(transact() for _ in range(3)),
                return_exceptions=True,
            )
            assert [type(answer) for answer in answers] == [Unavailable] * 9
            assert time.monotonic() - begun < db.STATEMENT_S


async def test_a_caller_who_gives_up_leaves_nothing_half_done_in_the_pool(pool: Database) -> None:
    waiting = asyncio.create_task(pool.fetch("SELECT pg_sleep(602)"))

    async def in_use() -> bool:
        return pool.stats().in_use == 1

    async def free() -> bool:
        return pool.stats().in_use == 0

    await until(in_use)
    waiting.cancel()
    await until(free)
    assert len(await processes(pool)) == CONNECTIONS


async def test_an_old_connection_is_closed_when_it_comes_back_and_not_before(pool: Database) -> None:
    async with pool.begin() as connection:
        (driver,) = (driver for driver in pool._pool._drivers if driver.in_use)
        driver.expires_at = 0.0
        pool._pool.close_idle()
        ((process,),) = await db.fetch_within(connection, "SELECT pg_backend_pid()")
    assert process not in await processes(pool)


async def test_the_sweep_exchanges_old_connections_and_keeps_the_minimum(pool: Database) -> None:
    before = await processes(pool)
    for driver in pool._pool._drivers:
        driver.expires_at = 0.0
    pool._pool.close_idle()
    assert pool.stats().total == 0
    await pool._pool.keep_minimum()
    assert pool.stats().total == 2
    assert not before & await processes(pool)


async def test_the_sweep_and_callers_do_not_disturb_each_other(database_url: str) -> None:
    settings = DatabaseSettings.model_validate({"database_url": database_url, "db_idle_timeout": 1})
    async with db.connect(settings, "test", role=None) as pool:
        for _ in range(20):
            calls = [asyncio.create_task(pool.fetch("SELECT 1")) for _ in range(30)]
            sweeps = [asyncio.create_task(pool._pool.keep_minimum()) for _ in range(2)]
            pool._pool.close_idle()
            await asyncio.gather(*calls, *sweeps)
            pool._pool.close_idle()
        assert pool.stats().waiting == 0

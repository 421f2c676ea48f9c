"""A large result is read in chunks, as of one moment, at the reader's speed."""

import csv
import io

import pytest

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.contracts.services import Role
from libs.common.db import CopyAs, Database
from libs.common.db_copy import Copy, CopyTooSlow
from libs.common.errors import Unavailable
from libs.common.ledger.accept import accept
from libs.common.ledger.jobs import NewJob
from tests.polling import until

LARGE = "SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 20000) n"
STILL_SENDING = """
SELECT FROM pg_stat_activity WHERE application_name = 'argosy-reader' AND wait_event = 'ClientWrite'
  AND clock_timestamp() - query_start > interval '1 second'
"""
COPYING = "SELECT FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active'"


async def rows_of(copy: Copy) -> list[dict[str, str]]:
    text = b"".join([chunk async for chunk in copy.chunks]).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_what_is_selected_comes_as_csv(database: Database) -> None:
    nasty = ['a,"b"', "line\r\nend", "ünïcode 🚢", "", " "]
    sql = "SELECT n, t AS text FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n) WHERE n > $2::int"
    async with database.copy(sql, nasty, 0, timeout_s=60) as copy:
        assert await rows_of(copy) == [{"n": str(n), "text": text} for n, text in enumerate(nasty, 1)]
    async with database.copy("SELECT 1 AS n WHERE false", timeout_s=60) as copy:
        assert [chunk async for chunk in copy.chunks] == [b"n\n"]
    assert database.stats().in_use == 0


async def test_lines_come_as_the_query_makes_them_and_are_counted(database: Database) -> None:
    sql = "SELECT to_json(n || ', \"' || E'\\n')::text FROM generate_series(1, 3) n"
    async with database.copy(sql, timeout_s=60, written=CopyAs.LINES) as copy:
        assert copy.rows is None
        lines = b"".join([chunk async for chunk in copy.chunks]).decode().splitlines()
    assert lines == [f'"{n}, \\"\\n"' for n in (1, 2, 3)]
    assert copy.rows == 3


async def test_a_reader_has_all_of_the_time_and_times_are_in_utc(database: Database) -> None:
    """The server takes a session for frozen that is idle, as it is when everything has been sent and not read."""
    idle = "idle_in_transaction_session_timeout"
    sql = f"SELECT current_setting('{idle}') AS idle, current_setting('TimeZone') AS zone"
    async with database.copy(sql, timeout_s=61.5) as copy:
        assert await rows_of(copy) == [{"idle": "61500ms", "zone": "UTC"}]


async def test_it_shows_the_rows_of_its_tenant(database: Database, database_settings: DatabaseSettings) -> None:
    jobs = [NewJob(tenant, "key", "ocr", "k", b"{}") for tenant in ("a", "b", "b")]
    await accept(database, jobs, ticketed=[False] * 3)
    async with db.connect(database_settings, "reader", role=Role.GATEWAY) as gateway:
        for tenant, seen in (("a", ["a"]), ("b", ["b", "b"]), ("'; RESET ROLE; --", []), (None, ["a", "b", "b"])):
            sql = "SELECT tenant FROM ledger.jobs ORDER BY tenant"
            async with gateway.copy(sql, tenant=tenant, timeout_s=60) as copy:
                assert [row["tenant"] for row in await rows_of(copy)] == seen
        assert len(await gateway.fetch("SELECT FROM ledger.jobs")) == 3, "nothing is left on the connection"


async def test_copies_of_a_snapshot_are_as_of_the_moment_that_it_names(database: Database) -> None:
    await database.fetch(
        "CREATE TABLE t (n int, by xid8 DEFAULT pg_current_xact_id(), at timestamptz DEFAULT now())"
    )
    await database.fetch("INSERT INTO t VALUES (1)")
    async with database.snapshot(timeout_s=60) as snapshot:
        for number in (2, 3):
            await database.fetch("INSERT INTO t VALUES ($1)", number)
            async with database.copy("SELECT n FROM t", timeout_s=snapshot.left_s, snapshot=snapshot) as copy:
                assert [row["n"] for row in await rows_of(copy)] == ["1"]
    seen = "SELECT n, pg_visible_in_snapshot(by, $1::text::pg_snapshot), at < $2 FROM t ORDER BY n"
    rows = await database.fetch(seen, snapshot.seen, snapshot.as_of)
    assert [tuple(row) for row in rows] == [(1, True, True), (2, False, False), (3, False, False)]
    assert database.stats().in_use == 0


async def test_a_copy_of_a_snapshot_whose_session_has_ended_is_unavailable(
    database: Database, database_settings: DatabaseSettings
) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_export_snapshot%'"

    async def be_robbed(reader: Database) -> None:
        async with reader.snapshot(timeout_s=60) as snapshot:
            assert await database.fetch(f"{kill} AND application_name = 'argosy-reader'")
            await until(lambda: snapshot_is_gone(database))
            async with reader.copy(LARGE, timeout_s=60, snapshot=snapshot) as copy:
                await rows_of(copy)

    async with db.connect(database_settings, "reader", role=None) as reader:
        with pytest.raises(Unavailable, match="gone with its session"):
            await be_robbed(reader)
        assert (await reader.fetch("SELECT 42"))[0][0] == 42


async def snapshot_is_gone(database: Database) -> bool:
    return not await database.fetch(
        "SELECT FROM pg_stat_activity WHERE application_name = 'argosy-reader' AND state LIKE 'idle in%'"
    )


async def test_a_copy_sees_its_own_moment_without_a_snapshot(database: Database) -> None:
    await database.fetch("CREATE TABLE t (n int)")
    async with database.copy("SELECT n FROM t", timeout_s=60) as copy:
        assert await rows_of(copy) == []
    await database.fetch("INSERT INTO t VALUES (1)")
    async with database.copy("SELECT n FROM t", timeout_s=60) as copy:
        assert await rows_of(copy) == [{"n": "1"}]


async def test_it_may_scan_and_may_not_write(database: Database) -> None:
    names = ("enable_seqscan", "transaction_read_only", "transaction_isolation")
    sql = "SELECT {}".format(", ".join(f"current_setting('{name}') AS {name}" for name in names))
    async with database.copy(sql, timeout_s=60) as copy:
        (row,) = await rows_of(copy)
    assert list(row.values()) == ["on", "on", "repeatable read"]
    assert list((await database.fetch(sql))[0]) == ["off", "off", "read committed"]


async def test_a_slow_reader_is_waited_for(
    database: Database, database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a statement may take, and longer than a transaction may be idle."""
    monkeypatch.setattr(db, "STATEMENT_S", 0.3)
    monkeypatch.setattr(db, "FROZEN_AFTER_S", 0.3)

    async def still_sending() -> bool:
        return bool(await database.fetch(STILL_SENDING))

    async with db.connect(database_settings, "reader", role=None) as reader:
        monkeypatch.undo()
        async with reader.copy(LARGE, timeout_s=600) as copy:
            size = len(await anext(copy.chunks))
            await until(still_sending)
            async for chunk in copy.chunks:
                size += len(chunk)
    assert size > 20_000 * 1000


async def test_beyond_its_time_it_ends(database: Database) -> None:
    async with database.copy("SELECT pg_sleep(600)", timeout_s=0.3) as copy:
        with pytest.raises(CopyTooSlow):
            await rows_of(copy)
    assert (await database.fetch("SELECT 42"))[0][0] == 42


async def test_who_leaves_early_stops_the_server(database: Database) -> None:
    async def stopped() -> bool:
        return not await database.fetch(COPYING)

    async def fail_half_way() -> None:
        async with database.copy(LARGE, timeout_s=600) as copy:
            await anext(copy.chunks)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    await until(stopped)
    async with database.copy(LARGE, timeout_s=600) as copy:
        await anext(copy.chunks)
    await until(stopped)
    assert (await database.fetch("SELECT 42"))[0][0] == 42


async def test_a_connection_that_dies_is_unavailable(
    database: Database, database_settings: DatabaseSettings
) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'argosy-reader'"
    async with db.connect(database_settings, "reader", role=None) as reader:

        async def be_killed() -> None:
            async with reader.copy(LARGE, timeout_s=600) as copy:
                await anext(copy.chunks)
                assert await database.fetch(f"{kill} AND query LIKE 'COPY %'")
                await rows_of(copy)

        with pytest.raises(Unavailable):
            await be_killed()
        assert (await reader.fetch("SELECT 42"))[0][0] == 42

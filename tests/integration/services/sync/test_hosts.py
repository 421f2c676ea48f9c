"""Turns with a host: one at a time of all workers, and none before its next moment."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.common.db import Database
from services.sync.hosts import Hosts, host_of
from services.sync.refusals import SourceMissing, SourceUnavailable, Wait
from tests.polling import until

HOST = "example.org:443"


async def next_in_s(database: Database) -> float:
    rows = await database.fetch("SELECT extract(epoch FROM next_at - now())::float8 AS s FROM sync.hosts")
    return float(rows[0]["s"])


def test_the_port_is_part_of_a_host() -> None:
    assert host_of("https://Example.org/a?b") == host_of("https://example.org:443/") == HOST
    assert host_of("http://example.org/") == "example.org:80"


async def test_one_at_a_time_of_all_workers(sync_database: Database) -> None:
    now, at_most, done = 0, 0, 0

    async def work() -> None:
        nonlocal now, at_most, done
        hosts = Hosts(sync_database, gap_s=0, patience_s=60)
        for _ in range(4):
            async with hosts.turn(HOST):
                now += 1
                at_most = max(at_most, now)
                await asyncio.sleep(0.01)
                now -= 1
                done += 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert (at_most, done) == (1, 20)


async def test_another_host_is_not_waited_for(sync_database: Database) -> None:
    hosts = Hosts(sync_database, gap_s=0, patience_s=0)
    async with hosts.turn(HOST), hosts.turn("other.test:80"):
        pass


async def test_a_turn_that_does_not_come_is_not_waited_for(sync_database: Database) -> None:
    hosts = Hosts(sync_database, gap_s=0, patience_s=0.1)
    async with hosts.turn(HOST):
        with pytest.raises(Wait) as wait:
            async with hosts.turn(HOST):
                raise AssertionError("two at a time")
    assert timedelta() < wait.value.until - datetime.now(UTC) < timedelta(seconds=15)


async def test_a_long_turn_is_held(sync_database: Database) -> None:
    """Longer than that of a worker that has died."""
    hosts = Hosts(sync_database, gap_s=0, held_s=1.0, patience_s=0)
    async with hosts.turn(HOST) as turn:
        first = turn.held

        async def was_held() -> bool:
            return turn.held > first + timedelta(seconds=1)

        await until(was_held)
        with pytest.raises(Wait):
            async with hosts.turn(HOST):
                raise AssertionError("two at a time")
    assert await next_in_s(sync_database) <= 0


async def test_the_turn_of_a_dead_worker_ends_by_itself(sync_database: Database) -> None:
    dead = Hosts(sync_database, gap_s=0, held_s=0.3)
    turn = await dead._taken(HOST)
    async with Hosts(sync_database, gap_s=0, patience_s=60).turn(HOST) as other:
        assert other.held > turn.held
        await dead._leave(turn, 0)  # it was only frozen
        assert await next_in_s(sync_database) > 1


async def test_there_is_a_gap_between_turns(sync_database: Database) -> None:
    async with Hosts(sync_database, gap_s=30).turn(HOST):
        pass
    assert 0 < await next_in_s(sync_database) <= 30
    with pytest.raises(Wait):
        async with Hosts(sync_database, gap_s=30).turn(HOST):
            raise AssertionError("too early")


async def test_what_a_host_asks_for_holds_others_up_for_an_hour_at_most(sync_database: Database) -> None:
    async with Hosts(sync_database, gap_s=0).turn(HOST) as turn:
        turn.postpone = datetime.now(UTC) + timedelta(days=14)
    assert 3_500 < await next_in_s(sync_database) <= 3_600


async def test_failures_double_the_wait_and_a_success_forgets_them(sync_database: Database) -> None:
    hosts, waits = Hosts(sync_database, gap_s=0), []
    for _ in range(3):
        await sync_database.fetch("UPDATE sync.hosts SET next_at = now()")
        with pytest.raises(SourceUnavailable):
            async with hosts.turn(HOST):
                raise SourceUnavailable
        waits.append(await next_in_s(sync_database))
    assert [round(wait_s / 15) for wait_s in waits] == [1, 2, 4]
    await sync_database.fetch("UPDATE sync.hosts SET next_at = now()")
    with pytest.raises(SourceMissing):
        async with hosts.turn(HOST):
            raise SourceMissing
    assert await next_in_s(sync_database) <= 0
    async with hosts.turn(HOST) as turn:
        assert turn.failures == 3
    async with hosts.turn(HOST) as turn:
        assert turn.failures == 0

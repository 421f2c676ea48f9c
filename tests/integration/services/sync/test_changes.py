"""The feed shows every change once, whatever the order of commits; and says so when it cannot."""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

from libs.common.db import Database
from libs.common.errors import Unavailable
from services.sync import changes
from services.sync.refusals import ChangesForgotten, CursorInvalid
from tests.polling import until
from tests.searching import CURSORS, Library

MOVED = "UPDATE sync.feed SET place = 'elsewhere'"
"""As in a dump of another server."""


@pytest.fixture
async def feed(library: Library) -> Library:
    await changes.adopt(library.database)
    await library.add("a")
    return library


async def page(library: Library, after: str | None = None, limit: int = 100) -> dict[str, Any]:
    return await changes.page(library.database, library.tenant, CURSORS, after=after, limit=limit)


async def write(library: Library, *numbers: int, key: str = "a") -> None:
    """Changes that are told apart by a number, in one transaction."""
    async with library.database.begin() as connection:
        for place, number in enumerate(numbers, 1):
            await library.change(connection, key, place, {"number": number})


def numbers_of(found: dict[str, Any]) -> list[int]:
    return [change["fields"]["number"] for change in found["changes"]]


async def read_all(library: Library, limit: int) -> list[int]:
    seen, after = list[int](), None
    while True:
        found = await page(library, after, limit)
        if not found["changes"]:
            return seen
        seen += numbers_of(found)
        after = found["next_after"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_together_are_the_whole_each_once(feed: Library, limit: int) -> None:
    await write(feed, 1, 2, 3)
    await write(feed, 4, 5)
    await feed.of("another").add("theirs")
    assert await until(lambda: _is([1, 2, 3, 4, 5], feed, limit))


async def _is(wanted: list[int], feed: Library, limit: int) -> bool:
    """Whether the feed has these by now: other databases of the server may be busy."""
    return await read_all(feed, limit) == wanted


async def test_what_is_committed_late_comes_late_but_comes(feed: Library) -> None:
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(feed.database.begin())
        await feed.change(slow, "a", 1, {"number": 1})
        await write(feed, 2)
        first = await page(feed)
        assert numbers_of(first) == [], "2 must wait for 1"
    seen, after = list[int](), first["next_after"]

    async def both() -> bool:
        nonlocal after
        found = await page(feed, after)
        seen.extend(numbers_of(found))
        after = found["next_after"]
        return len(seen) >= 2

    await until(both)
    assert seen == [1, 2]


@pytest.mark.parametrize("seed", range(3))
async def test_writers_that_commit_out_of_order_lose_nothing_and_repeat_nothing(feed: Library, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's
    wanted = set[int]()
    written = asyncio.Event()

    async def writer(of: int) -> None:
        for round_ in range(12):
            numbers = [of * 1_000 + round_ * 10 + n for n in range(chance.randrange(1, 4))]
            async with feed.database.begin() as connection:
                for place, number in enumerate(numbers, 1):
                    await feed.change(connection, "a", place, {"number": number})
                    for _ in range(chance.randrange(8)):  # others begin and commit meanwhile
                        await asyncio.sleep(0)
            wanted.update(numbers)

    async def reader() -> list[int]:
        seen, after = list[int](), None
        while True:
            done = written.is_set()
            found = await page(feed, after, chance.randrange(1, 6))
            seen += numbers_of(found)
            after = found["next_after"]
            if done and set(seen) >= wanted:
                return seen
            await asyncio.sleep(0)

    async def write_all() -> None:
        await asyncio.gather(*(writer(of) for of in range(6)))
        written.set()

    *readers, _ = await asyncio.gather(reader(), reader(), write_all())
    for seen in readers:
        assert len(seen) == len(set(seen))
        assert set(seen) == wanted


async def test_other_tenants_changes_are_not_shown(feed: Library) -> None:
    others = feed.of("another")
    await others.add("theirs")
    await write(others, 7, key="theirs")
    await until(lambda: _is([7], others, 10))
    assert (await page(feed))["changes"] == []
    with pytest.raises(CursorInvalid):
        await page(feed, (await page(others))["next_after"])


async def test_in_a_restored_dump_old_cursors_are_refused_and_nothing_else_is_lost(feed: Library) -> None:
    await write(feed, 1, 2)
    await write(feed, 3)
    await until(lambda: _is([1, 2, 3], feed, 2))
    old = CURSORS.issue(b"changes of acme", ["elsewhere", "0-1"])  # what the other server gave out
    await feed.database.fetch(MOVED)
    await feed.database.fetch(
        "UPDATE sync.changes SET changed_by = (changed_by::text::bigint + 1000000)::text::xid8"
    )
    with pytest.raises(Unavailable):
        await page(feed)
    await changes.adopt(feed.database)
    with pytest.raises(ChangesForgotten):
        await page(feed, old)
    assert await read_all(feed, 2) == [1, 2, 3]
    await write(feed, 4)
    await until(lambda: _is([1, 2, 3, 4], feed, 2))
    await feed.database.fetch(MOVED)  # and once more
    await changes.adopt(feed.database)
    assert await read_all(feed, 2) == [1, 2, 3, 4]
    before = await feed.database.fetch("SELECT changed_by, number FROM sync.changes ORDER BY 1, 2")
    await changes.adopt(feed.database)
    assert await feed.database.fetch("SELECT changed_by, number FROM sync.changes ORDER BY 1, 2") == before


async def test_two_workers_may_adopt_at_once(feed: Library) -> None:
    await write(feed, 1, 2)
    await feed.database.fetch(MOVED)
    await asyncio.gather(*(changes.adopt(feed.database) for _ in range(4)))
    assert await read_all(feed, 10) == [1, 2]


async def test_a_cursor_from_before_what_was_removed_is_refused(feed: Library) -> None:
    await write(feed, 1)
    await until(lambda: _is([1], feed, 10))
    begun = (await page(feed, limit=1))["next_after"]
    await write(feed, 2)
    await until(lambda: _is([1, 2], feed, 10))
    ended = (await page(feed))["next_after"]
    assert await changes.forget(feed.database) == 0
    assert numbers_of(await page(feed, begun)) == [2]
    await feed.database.fetch("UPDATE sync.changes SET at = at - interval '401 days'")
    assert await changes.forget(feed.database) == 2
    with pytest.raises(ChangesForgotten):
        await page(feed, begun)
    assert numbers_of(await page(feed, ended)) == []
    assert numbers_of(await page(feed)) == []


async def test_a_server_set_back_in_time_refuses_cursors_of_the_future(feed: Library, database: Database) -> None:
    ((place,),) = await database.fetch("SELECT place FROM sync.feed")
    ahead = CURSORS.issue(b"changes of acme", [place, "9000000000-1"])
    with pytest.raises(ChangesForgotten):
        await page(feed, ahead)

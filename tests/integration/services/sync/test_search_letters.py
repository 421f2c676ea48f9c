"""What is new to a saved search is told in a letter: everything once, whatever is killed, late, or at once."""

import asyncio
from typing import Any

import pytest

from libs.common.contracts.searches import LISTED_AT_MOST, LISTED_BYTES_AT_MOST
from libs.common.contracts.sync import SearchPayload
from libs.common.db import fetch_within
from services.sync import changes, search_letters, searches
from tests.chaos.killed_syncer import Killed
from tests.chaos.one_syncer import OF_SEARCHES
from tests.polling import until
from tests.syncing import Syncer, listing

LETTERS = "SELECT payload, created_by FROM ledger.jobs WHERE queue = 'mailer' AND kind = 'letter' ORDER BY id"
MOVED = "UPDATE sync.feed SET place = 'elsewhere'"
"""As in a dump of another server."""


async def save(syncer: Syncer, name: str = "water", tenant: str = "acme", /, **given: Any) -> SearchPayload:
    """Save a search, and return the payload of its jobs."""
    search = {
        "name": name,
        "filter": {"q": "water"},
        "letter": {"from": "office@argosy.test", "subject": "{{ new }} new"},
        "recipients": [{"address": "ada@one.test", "variables": {"who": "Ada", "new": "hers"}}],
    }
    return SearchPayload(search=(await syncer.ask("put_search", tenant, **search | given))["id"])


async def letters(syncer: Syncer) -> list[dict[str, Any]]:
    """The variables of the first recipient of each letter."""
    return [row[0]["recipients"][0]["variables"] for row in await syncer.gateway.fetch(LETTERS)]


async def titles(syncer: Syncer) -> list[str]:
    """Of all opportunities in all letters."""
    return [one["title"] for letter in await letters(syncer) for one in letter["opportunities"]]


async def told(syncer: Syncer, search: SearchPayload, number: int) -> list[str]:
    """Run a search until so many were told in all: others' transactions may hold up what is shown."""

    async def are_told() -> bool:
        await syncer.run(search)
        found: list[int] = [len(letter["opportunities"]) + letter["more"] for letter in await letters(syncer)]
        return sum(found) >= number

    await until(are_told)
    return await titles(syncer)


async def test_what_is_new_is_told_once_in_the_order_of_closing(syncer: Syncer) -> None:
    source = await syncer.source()
    before = [*listing(1), *listing(2, text="Roads")]
    await syncer.sync(source, before)
    search = await save(syncer)
    await until(lambda: _has_passed(syncer, search))
    later = [*listing(3, title="Late", closes="2031-01-02"), *listing(4, title="Soon", closes="2030-05-06")]
    more = [*listing(5, title="Never", closes=None), *listing(6, text="Roads"), *listing(7, closes="2001-01-01")]
    await syncer.sync(source, [*before, *later, *more])
    assert await told(syncer, search, 3) == ["Soon", "Late", "Never"]
    changed = [*listing(1, title="Water"), *later, *listing(2)]
    await syncer.sync(source, changed)  # neither what has changed nor what now fits is new
    assert (await syncer.run(search))["letter"] is None
    (letter,) = await letters(syncer)
    assert (letter["search"], letter["new"], letter["more"], letter["who"]) == ("water", 3, 0, "Ada")
    assert {*letter["opportunities"][0]} == {"id", *search_letters.FIELDS}
    ((payload, author),) = await syncer.gateway.fetch(LETTERS)
    assert (author, payload["is_template"], payload["letter"]["subject"]) == ("key", True, "{{ new }} new")


async def _has_passed(syncer: Syncer, search: SearchPayload) -> bool:
    """Whether a search has come to where what is there already is behind it."""
    await syncer.run(search)
    ((passed,),) = await syncer.database.fetch(
        "SELECT NOT EXISTS (SELECT FROM sync.changes c WHERE c.tenant = s.tenant AND changed_by >= told_by)"
        " FROM sync.searches s WHERE id = $1",
        search.search,
    )
    return bool(passed)


async def test_what_is_there_when_it_is_saved_is_not_new(syncer: Syncer) -> None:
    source = await syncer.source()
    await syncer.sync(source, listing(1))

    async def is_past() -> bool:
        sql = "SELECT bool_and(changed_by < pg_snapshot_xmin(pg_current_snapshot())) FROM sync.changes"
        return bool((await syncer.database.fetch(sql))[0][0])

    await until(is_past)
    search = await save(syncer)
    await syncer.sync(source, listing(1, 2))
    assert await told(syncer, search, 1) == ["Grant 2"]


async def test_to_put_it_again_changes_the_filter_and_tells_nothing_again(syncer: Syncer) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1))
    assert await told(syncer, search, 1) == ["Grant 1"]
    assert await save(syncer, filter={"q": "grant"}) == search
    await syncer.sync(source, [*listing(1), *listing(2, text="Roads")])
    assert await told(syncer, search, 2) == ["Grant 1", "Grant 2"]


@pytest.mark.long
async def test_each_is_told_once_whoever_is_killed(syncer: Syncer, killed: Killed) -> None:
    source, search = await syncer.source(), await save(syncer)
    wanted: list[str] = []
    for number, point in enumerate(OF_SEARCHES, 1):
        wanted.append(f"Grant {number}")
        await syncer.sync(source, listing(*range(1, number + 1)))

        async def is_shown() -> bool:
            sql = "SELECT max(changed_by) < pg_snapshot_xmin(pg_current_snapshot()) FROM sync.changes"
            return bool((await syncer.database.fetch(sql))[0][0])

        await until(is_shown)
        job = await syncer.submit(search)
        await killed.at(point)
        await syncer.work()
        facts = await syncer.facts(job)
        assert (facts["state"], facts["result"]["new"]) == ("succeeded", 1), point
        assert await titles(syncer) == wanted, point


async def test_jobs_at_once_tell_each_once(syncer: Syncer) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1, 2, 3))

    async def are_told() -> bool:
        done = [await syncer.submit(search) for _ in range(4)]
        await syncer.work()
        assert {(await syncer.facts(job))["state"] for job in done} == {"succeeded"}
        return bool(await letters(syncer))

    await until(are_told)
    assert len(await titles(syncer)) == 3


async def test_a_commit_that_comes_late_is_not_passed_over(syncer: Syncer) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1))
    await syncer.database.fetch("DELETE FROM sync.changes")
    async with syncer.database.begin(tenant="acme") as late:
        await fetch_within(
            late,
            "INSERT INTO sync.changes (tenant, number, opportunity, run, what, fields)"
            " SELECT tenant, 1, id, first_run, 'inserted', '{}' FROM sync.opportunities WHERE key = 'g1'",
        )
        await syncer.sync(source, listing(1, 2))
        assert (await syncer.run(search))["new"] == 0
    assert await told(syncer, search, 2) == ["Grant 1", "Grant 2"]


async def test_very_much_that_is_new_is_a_number_and_the_first(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_letters, "AT_ONCE", 7)
    source, search = await syncer.source(), await save(syncer)
    many = [listing(n, closes=f"{2100 - n}-01-02")[0] for n in range(60)]
    await syncer.sync(source, many)
    assert await told(syncer, search, 60) == [f"Grant {n}" for n in range(59, 59 - LISTED_AT_MOST, -1)]
    (letter,) = await letters(syncer)
    assert (letter["new"], letter["more"]) == (60, 60 - LISTED_AT_MOST)
    long = [listing(n, title="x" * 900, closes=f"{2200 - n}-01-02")[0] for n in range(100, 140)]
    await syncer.sync(source, [*many, *long])
    await told(syncer, search, 100)
    letter = (await letters(syncer))[-1]
    assert 10 < len(letter["opportunities"]) < 20
    assert sum(len(str(one)) for one in letter["opportunities"]) < LISTED_BYTES_AT_MOST * 1.1
    assert letter["new"] == len(letter["opportunities"]) + letter["more"] == 40


async def test_a_search_that_is_changed_or_removed_meanwhile_tells_nothing(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1))
    news = search_letters._news

    async def change(*given: Any) -> Any:
        found = await news(*given)
        await save(syncer, filter={"q": "roads"})
        return found

    monkeypatch.setattr(search_letters, "_news", change)
    assert (await syncer.run(search))["skipped"] == "changed"
    monkeypatch.undo()
    await save(syncer)
    assert await told(syncer, search, 1) == ["Grant 1"]
    await syncer.ask("remove_search", name="water")
    assert (await syncer.run(search))["skipped"] == "removed"


async def test_who_was_taken_off_while_it_ran_gets_no_letter(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1))
    news = search_letters._news

    async def change(*given: Any) -> Any:
        found = await news(*given)
        await save(syncer, recipients=[{"address": "bob@one.test"}])
        return found

    monkeypatch.setattr(search_letters, "_news", change)
    await told(syncer, search, 1)
    ((payload, _),) = await syncer.gateway.fetch(LETTERS)
    assert [one["address"] for one in payload["recipients"]] == ["bob@one.test"]


async def test_what_was_told_stays_told_in_a_restored_dump(syncer: Syncer) -> None:
    source, search = await syncer.source(), await save(syncer)
    await syncer.sync(source, listing(1))
    assert await told(syncer, search, 1) == ["Grant 1"]
    await syncer.sync(source, listing(1, 2))
    await syncer.database.fetch(MOVED)
    for table, column in (("changes", "changed_by"), ("searches", "told_by")):
        later = f"({column}::text::bigint + 1000000)::text::xid8"
        await syncer.database.fetch(f"UPDATE sync.{table} SET {column} = {later}")  # noqa: S608 - constants
    await changes.adopt(syncer.database)
    assert await told(syncer, search, 2) == ["Grant 1", "Grant 2"]
    await syncer.sync(source, listing(1, 2, 3))
    assert await told(syncer, search, 3) == ["Grant 1", "Grant 2", "Grant 3"]


async def test_each_tenant_is_told_of_its_own(syncer: Syncer) -> None:
    found = {}
    for tenant in ("acme", "beta"):
        url = f"https://{tenant}.example/"
        source, search = await syncer.source("grants", tenant, url=url), await save(syncer, "water", tenant)
        await syncer.sync(source, listing(1, title=tenant), url=url, tenant=tenant)
        found[tenant] = search
    for number, (tenant, search) in enumerate(found.items(), 1):

        async def are_told(search: SearchPayload = search, tenant: str = tenant, number: int = number) -> bool:
            await syncer.run(search, tenant=tenant)
            return len(await letters(syncer)) >= number

        await until(are_told)
    assert await titles(syncer) == ["acme", "beta"]
    assert (await syncer.run(found["acme"], tenant="beta"))["skipped"] == "removed"
    assert await searches.load(syncer.database, "beta", found["acme"].search) is None


async def test_asking_at_once_for_the_same_place_moves_it_once(syncer: Syncer) -> None:
    search = await save(syncer)
    loaded = await searches.load(syncer.database, "acme", search.search)
    assert loaded is not None

    async def move() -> bool:
        async with syncer.database.begin(tenant="acme") as connection:
            return await searches.move(connection, "acme", loaded, (loaded.told[0], 5)) is not None

    assert sorted(await asyncio.gather(*(move() for _ in range(5)))) == [False, False, False, False, True]

"""A run writes what is new, has changed or has gone, once, whatever happens to it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.common.contracts.sync import RunPayload
from services.sync.page import Ask
from services.sync.refusals import SourceStopped, SourceUnavailable, Wait
from tests.fetching import fetching_here
from tests.scripted_source import Told, scripted_source, told_json
from tests.syncing import Syncer, listing


async def test_new_changed_gone_and_returned_are_told_by_the_field(syncer: Syncer) -> None:
    source = await syncer.source()
    assert await syncer.sync(source, listing(1, 2, 3)) == {"pages": 1, "records": 3, "inserted": 3}
    assert await syncer.sync(source, listing(1, 2, 3)) == {"pages": 1, "records": 3, "unchanged": 3}
    changed = [*listing(1), *listing(2, title="Water", closes="2030-02-03", most="1,000.50")]
    assert await syncer.sync(source, changed) == {
        "pages": 1,
        "records": 2,
        "unchanged": 1,
        "updated": 1,
        "gone": 1,
    }
    assert await syncer.sync(source, [*changed, *listing(3)]) == {
        "pages": 1, "records": 3, "unchanged": 2, "returned": 1,
    }  # fmt: skip
    rows = await syncer.rows()
    assert {key: (row["revision"], row["gone_at"]) for key, row in rows.items()} == {
        "g1": (1, None), "g2": (2, None), "g3": (3, None),
    }  # fmt: skip
    told = {
        "title": ["Grant 2", "Water"],
        "closes_at": ["2030-01-02T23:59:59.000000Z", "2030-02-03T23:59:59.000000Z"],
        "closes_on": ["2030-01-02", "2030-02-03"],
        "amount_max": [None, 1000.5],
    }
    assert (await syncer.history())[3:] == [("g2", "updated", told), ("g3", "gone", {}), ("g3", "returned", {})]


async def test_an_incremental_source_is_asked_for_what_has_changed_since(syncer: Syncer) -> None:
    incremental = {"parameter": "since", "field": "at", "overlap_s": 0, "full_every_days": 7}
    source = await syncer.source(incremental=incremental)
    await syncer.sync(source, listing(1, at="2026-01-01T00:00:00Z") + listing(2, at="2026-01-03T00:00:00Z"))
    assert "gone" not in await syncer.sync(source, listing(2, at="2026-01-04T00:00:00Z"))
    await syncer.sync(source, [])
    assert [ask.bookmark for ask in syncer.shelf.asked] == [None, "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"]
    await syncer.database.fetch("UPDATE sync.sources SET full_at = now() - interval '8 days'")
    assert (await syncer.sync(source, listing(2)))["gone"] == 1
    assert syncer.shelf.asked[-1].bookmark is None


async def test_a_run_that_comes_too_early_waits_or_does_nothing(syncer: Syncer) -> None:
    source = await syncer.source(min_interval_s=7_200)
    await syncer.sync(source, listing(1))
    assert (await syncer.run(RunPayload(source=source)))["skipped"] == "too_early"
    await syncer.database.fetch("UPDATE sync.sources SET not_before = now() + interval '30 minutes'")
    job = await syncer.submit(RunPayload(source=source))
    await syncer.work()
    facts = await syncer.facts(job)
    assert facts["state"] == "scheduled"
    assert timedelta(minutes=25) < facts["due_at"] - datetime.now(UTC) < timedelta(minutes=31)


async def test_a_source_that_asks_to_wait_is_gone_on_with_where_it_was(syncer: Syncer) -> None:
    source = await syncer.source()
    refused: list[Ask] = []

    async def refuse_once(ask: Ask) -> None:
        if ask.position and not refused:
            refused.append(ask)
            raise Wait(datetime.now(UTC) - timedelta(seconds=1))

    syncer.shelf.before = refuse_once
    result = await syncer.sync(source, listing(1), listing(2), listing(3))
    assert (result["pages"], result["inserted"], len(syncer.shelf.asked)) == (3, 3, 4)


async def test_ten_failures_in_a_row_pause_a_source_and_putting_it_again_ends_that(syncer: Syncer) -> None:
    source = await syncer.source()

    async def fail(ask: Ask) -> None:
        raise SourceUnavailable("503")

    syncer.shelf.before = fail
    for _ in range(2):
        assert (await syncer.sync(source, listing(1), fails=True))["code"] == "source_unavailable"
    assert (await syncer.sync(source, listing(1), fails=True))["code"] == "source_paused"
    told = await syncer.ask("get_source", name="grants")
    assert (told["paused"], told["failures"]) == ("source_unavailable", 10)
    syncer.shelf.before = None
    await syncer.source()
    assert (await syncer.sync(source, listing(1)))["inserted"] == 1
    assert (await syncer.ask("get_source", name="grants"))["failures"] == 0


async def test_a_source_that_is_gone_for_good_is_not_asked_again(syncer: Syncer) -> None:
    source = await syncer.source()

    async def gone(ask: Ask) -> None:
        raise SourceStopped

    syncer.shelf.before = gone
    assert (await syncer.sync(source, listing(1), fails=True))["code"] == "source_stopped"
    assert await syncer.sync(source, listing(1)) == {"skipped": "stopped"}
    assert len(syncer.shelf.asked) == 1


async def test_an_endless_source_delays_another_tenants_run_by_a_slice(syncer: Syncer) -> None:
    endless, other = await syncer.source(), await syncer.source("one", "beta", url="https://example.com/")
    syncer.shelf.listed["https://example.org/grants.json"] = [listing(n) for n in range(200)]
    syncer.shelf.listed["https://example.com/"] = [listing(1)]
    await syncer.submit(RunPayload(source=endless))
    await syncer.submit(RunPayload(source=other), tenant="beta")
    order: list[str] = []

    async def note(ask: Ask) -> None:
        order.append(ask.tenant)
        if len(order) > 40:
            raise asyncio.CancelledError

    syncer.shelf.before = note
    await syncer.work(slice_s=0.0)
    assert "beta" in order[:4]
    assert len(await syncer.rows("beta")) == 1


async def test_an_address_that_three_runs_were_led_to_for_good_is_taken_over(syncer: Syncer) -> None:
    told: dict[str, Told] = {"/new": told_json(listing(1))}

    async with (
        scripted_source(lambda asked: told[asked.target]) as server,
        fetching_here(syncer.database) as pages,
    ):

        async def run() -> tuple[str, str | None]:
            await syncer.database.fetch("UPDATE sync.sources SET not_before = NULL")
            job = await syncer.submit(RunPayload(source=source))
            await syncer.work(pages=pages)
            assert (await syncer.facts(job))["state"] == "succeeded"
            shown = await syncer.ask("get_source", name="grants")
            return shown["spec"]["url"].removeprefix(server.url), (shown["moved_to"] or "").removeprefix(
                server.url
            )

        def leads_to(path: str, status: int = 301) -> Told:
            return Told(status=status, headers={"Location": path})

        source = await syncer.source(url=f"{server.url}/old")
        told |= {"/old": leads_to("/new"), "/other": told["/new"]}
        assert [await run() for _ in range(2)] == [("/old", "/new")] * 2
        told["/old"] = leads_to("/other", 308)
        assert [await run() for _ in range(2)] == [("/old", "/other")] * 2  # in a row means to the same address
        told["/old"] = leads_to("/new", 302)
        assert await run() == ("/old", "")
        told["/old"] = leads_to("/new")
        assert [await run() for _ in range(3)] == [("/old", "/new"), ("/old", "/new"), ("/new", "")]
        server.asked.clear()
        assert await run() == ("/new", "")
        assert [asked.target for asked in server.asked] == ["/new"]
    assert len(await syncer.rows()) == 1


async def test_two_tenants_see_their_own(syncer: Syncer) -> None:
    for tenant in ("acme", "beta"):
        source = await syncer.source("grants", tenant, url=f"https://{tenant}.example/")
        await syncer.sync(source, listing(1, title=tenant), url=f"https://{tenant}.example/", tenant=tenant)
    assert {tenant: (await syncer.rows(tenant))["g1"]["title"] for tenant in ("acme", "beta")} == {
        "acme": "acme", "beta": "beta",
    }  # fmt: skip
    found: list[Any] = await syncer.database.fetch("SELECT title FROM sync.opportunities", tenant="beta")
    assert [row[0] for row in found] == ["beta"]

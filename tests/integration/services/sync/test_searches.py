"""Saved searches are put, listed, shown with their recipients, and removed with them."""

import asyncio
from typing import Any

import pytest

from services.sync import searches
from services.sync.refusals import NotFound, TooManySearches
from tests.syncing import Syncer

SEARCH: dict[str, Any] = {
    "filter": {"q": "wells"},
    "letter": {"from": "office@argosy.test", "subject": "New", "text": "{{ new }}"},
    "recipients": [
        {"address": "bob@two.test"},
        {"address": "ada@one.test", "name": "Ada", "variables": {"n": 1.0}, "time_zone": "Europe/Berlin"},
    ],
}
RECIPIENTS = "SELECT search, address FROM sync.search_recipients WHERE tenant = $1 ORDER BY 1, 2"


async def put(syncer: Syncer, name: str = "wells", tenant: str = "acme", /, **given: Any) -> dict[str, Any]:
    return await syncer.ask("put_search", tenant, name=name, **SEARCH | given)


async def test_a_search_is_shown_as_it_was_put(syncer: Syncer) -> None:
    saved = await put(syncer)
    shown = await syncer.ask("get_search", name="wells")
    assert shown == saved
    assert shown["filter"]["status"] == ["forecasted", "open"]
    assert shown["letter"] == SEARCH["letter"] | {
        "recipients": [
            {"to": "Ada <ada@one.test>", "variables": {"n": 1.0}, "time_zone": "Europe/Berlin"},
            {"to": "bob@two.test", "variables": {}, "time_zone": None},
        ]
    }
    assert shown["told_at"] is None


async def test_to_put_it_again_replaces_everything_but_its_id(syncer: Syncer) -> None:
    first = await put(syncer)
    second = await put(syncer, filter={"agency": ["Port"]}, recipients=[{"address": "eve@one.test"}])
    assert (second["id"], second["created_at"]) == (first["id"], first["created_at"])
    assert second["filter"]["agency"] == ["Port"]
    assert [one["to"] for one in second["letter"]["recipients"]] == ["eve@one.test"]


async def test_searches_are_listed_by_name_without_letters(syncer: Syncer) -> None:
    for name in ("c", "a", "b"):
        await put(syncer, name)
    await put(syncer, "d", "beta")
    first = await syncer.ask("list_searches", after=None, limit=2)
    assert ([one["name"] for one in first["searches"]], first["next_after"]) == (["a", "b"], "b")
    assert "letter" not in first["searches"][0]
    second = await syncer.ask("list_searches", after="b", limit=2)
    assert ([one["name"] for one in second["searches"]], second["next_after"]) == (["c"], None)


async def test_recipients_go_with_their_search(syncer: Syncer) -> None:
    for tenant in ("acme", "beta"):
        await put(syncer, "wells", tenant)
    await put(syncer, "dams")
    await syncer.ask("remove_search", name="wells")
    left = {tenant: await syncer.database.fetch(RECIPIENTS, tenant) for tenant in ("acme", "beta")}
    assert {tenant: {row[0] for row in rows} for tenant, rows in left.items()} == {
        "acme": {"dams"}, "beta": {"wells"},
    }  # fmt: skip
    for call in ("get_search", "remove_search"):
        with pytest.raises(NotFound):
            await syncer.ask(call, name="wells")


async def test_a_tenant_has_so_many_at_most(syncer: Syncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "SEARCHES_AT_MOST", 2)
    made = await asyncio.gather(*(put(syncer, name) for name in "abcd"), return_exceptions=True)
    assert sum(isinstance(one, TooManySearches) for one in made) == 2
    await put(syncer, (await syncer.ask("list_searches", after=None, limit=1))["searches"][0]["name"])
    await put(syncer, "a", "beta")

"""Sources are put, shown without secrets, and deleted when nothing runs."""

import asyncio

import pytest

from libs.common.contracts.sync import RunPayload
from services.sync import sources
from services.sync.page import Ask
from services.sync.refusals import NotFound, SourceBusy, TooManySources
from tests.syncing import Syncer, listing, spec_of


async def test_headers_are_asked_with_and_never_shown(syncer: Syncer) -> None:
    headers = {"X-Api-Key": "not a real key"}
    source = await syncer.source(headers=headers)
    told = await syncer.ask("get_source", name="grants")
    assert told["header_names"] == ["X-Api-Key"]
    assert "not a real key" not in str(told)
    ((stored,),) = await syncer.database.fetch("SELECT to_jsonb(s)::text FROM sync.sources s")
    assert "not a real key" not in stored
    await syncer.sync(source, listing(1))
    await syncer.source()  # those that it has stay
    await syncer.sync(source, listing(1))
    await syncer.source(headers={})
    await syncer.sync(source, listing(1))
    assert [ask.headers for ask in syncer.shelf.asked] == [headers, headers, {}]


async def test_mistakes_are_told_by_the_field_and_nothing_is_stored(syncer: Syncer) -> None:
    spec = spec_of(language="klingon", url="gopher://example.org")
    put = await syncer.ask("put_source", name="grants", spec=spec, headers=None)
    assert [one["field"] for one in put["mistakes"]] == ["body.url", "body.language"]
    with pytest.raises(NotFound):
        await syncer.ask("get_source", name="grants")


async def test_sources_are_listed_by_name_in_pages(syncer: Syncer) -> None:
    for name in ("c", "a", "b"):
        await syncer.source(name)
    await syncer.source("d", "beta")
    first = await syncer.ask("list_sources", after=None, limit=2)
    assert ([one["name"] for one in first["sources"]], first["next_after"]) == (["a", "b"], "b")
    second = await syncer.ask("list_sources", after="b", limit=2)
    assert ([one["name"] for one in second["sources"]], second["next_after"]) == (["c"], None)


async def test_a_tenant_has_so_many_sources_at_most(syncer: Syncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SOURCES_AT_MOST", 2)
    put = await asyncio.gather(*(syncer.source(name) for name in "abcd"), return_exceptions=True)
    assert sum(isinstance(one, TooManySources) for one in put) == 2
    await syncer.source((await syncer.ask("list_sources", after=None, limit=1))["sources"][0]["name"])


async def test_a_source_is_not_deleted_while_it_runs(syncer: Syncer) -> None:
    source = await syncer.source()
    refused: list[bool] = []

    async def delete(ask: Ask) -> None:
        with pytest.raises(SourceBusy):
            await syncer.ask("delete_source", name="grants")
        refused.append(True)

    syncer.shelf.before = delete
    await syncer.sync(source, listing(1, 2))
    assert refused == [True]
    await syncer.ask("delete_source", name="grants")
    assert await syncer.rows() == {}
    with pytest.raises(NotFound):
        await syncer.ask("delete_source", name="grants")
    assert (await syncer.run(RunPayload(source=source), fails=True))["code"] == "source_deleted"

"""What the gateway is told about opportunities."""

from typing import Any

import pytest

from services.sync.refusals import NotFound
from services.sync.search_handlers import HANDLERS
from tests.searching import Library
from tests.syncing import Syncer


async def test_each_question_is_answered_for_its_tenant(syncer: Syncer, library: Library) -> None:
    async def ask(name: str, tenant: str = "acme", **request: Any) -> dict[str, Any]:
        return await HANDLERS[name](tenant, request, syncer.deps)

    id_ = await library.add("a", "Wells")
    async with library.database.begin() as connection:
        for number in (1, 2):
            await library.change(connection, "a", number, {"title": [str(number), "Wells"]})
    assert [one["id"] for one in (await ask("search", q="wells"))["opportunities"]] == [id_]
    assert (await ask("search", "another", q="wells"))["opportunities"] == []
    assert (await ask("get_opportunity", id=id_))["title"] == "Wells"
    first = await ask("list_history", id=id_, after=None, limit=1)
    rest = await ask("list_history", id=id_, after=first["next_after"], limit=1)
    assert [page["changes"][0]["fields"]["title"][0] for page in (first, rest)] == ["1", "2"]
    assert [one["words"] for one in (await ask("match", text="dig wells"))["opportunities"]] == [["well"]]
    assert "next_after" in await ask("list_changes", after=None, limit=10)
    for name, request in (
        ("get_opportunity", {"id": id_}),
        ("list_history", {"id": id_, "after": None, "limit": 1}),
    ):
        with pytest.raises(NotFound):
            await ask(name, "another", **request)

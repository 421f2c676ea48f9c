"""Event types are read back as they were given, and change as a whole."""

import pytest

from services.analytics.refusals import NotFound, SchemaInvalid
from tests.analysing import Analyst, event


async def test_a_type_is_read_back(analyst: Analyst) -> None:
    made = await analyst.type("view", schema={"required": ["page"]}, dimensions=["page", "page"], value="amount")
    assert made == await analyst.ask("get_type", name="view")
    assert (made["version"], made["dimensions"], made["value"]) == (1, ["page"], "amount")
    assert (made["schema"], made["rebuilt"]) == ({"required": ["page"]}, True)


async def test_what_changes_nothing_makes_no_version(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"])
    assert (await analyst.type("view", dimensions=["page"]))["version"] == 1
    assert (await analyst.type("view", dimensions=["page", "x"]))["version"] == 2


async def test_a_new_schema_asks_for_no_rebuild_but_new_dimensions_do(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"])
    await analyst.count([event("a", page="/")])
    assert (await analyst.type("view", dimensions=["page"], schema={}))["rebuilt"]
    assert not (await analyst.type("view", dimensions=["x"]))["rebuilt"]
    assert not (await analyst.type("view", dimensions=["x"], schema={"type": "object"}))["rebuilt"]


async def test_pages_are_by_name(analyst: Analyst) -> None:
    for name in "cab":
        await analyst.type(name)
    first = await analyst.ask("list_types", after=None, limit=2)
    assert ([one["name"] for one in first["types"]], first["next_after"]) == (["a", "b"], "b")
    second = await analyst.ask("list_types", after="b", limit=2)
    assert ([one["name"] for one in second["types"]], second["next_after"]) == (["c"], None)


async def test_what_is_unknown_or_unusable_is_refused(analyst: Analyst) -> None:
    with pytest.raises(NotFound):
        await analyst.ask("get_type", name="nothing")
    with pytest.raises(SchemaInvalid):
        await analyst.type("view", schema={"$ref": "#"})
    assert (await analyst.ask("list_types", after=None, limit=2))["types"] == []

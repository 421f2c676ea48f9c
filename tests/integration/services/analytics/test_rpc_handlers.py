"""What the gateway is told, in pages."""

from tests.analysing import Analyst, event


async def test_they_are_listed_in_pages_with_their_reasons(analyst: Analyst) -> None:
    job = await analyst.send([event(f"e{n}") | {"name": "No"} for n in range(5)] + [event("x") | {"id": None}])
    await analyst.work()
    first = await analyst.ask("list_rejected", after=None, limit=4, reason="bad_name")
    assert [one["event"]["id"] for one in first["rejected"]] == ["e0", "e1", "e2", "e3"]
    assert {one["job"] for one in first["rejected"]} == {f"job_{job.id.hex}"}
    second = await analyst.ask("list_rejected", after=first["next_after"], limit=4, reason="bad_name")
    assert ([one["event"]["id"] for one in second["rejected"]], second["next_after"]) == (["e4"], None)
    assert (await analyst.ask("list_rejected", "another", after=None, limit=4, reason=None))["rejected"] == []

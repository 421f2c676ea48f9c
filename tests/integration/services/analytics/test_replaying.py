"""What was rejected counts once its cause is mended, and once only."""

from libs.common.contracts.analytics import Reason, ReplayPayload
from tests.analysing import Analyst, event


async def test_what_fits_by_now_counts_and_the_rest_stays(analyst: Analyst) -> None:
    await analyst.type("view", schema={"required": ["page"]})
    sent = [event(f"e{n}") for n in range(5)] + [event("twice", page="/"), event("bad") | {"name": "No"}]
    assert (await analyst.count(sent))["rejected"] == 6
    await analyst.count([event("e0", page="/")])
    await analyst.type("view")
    result = await analyst.run(ReplayPayload())
    assert (result["counted"], result["duplicates"], result["rejected"]) == (4, 1, 1)
    assert (result["conflicts"], result["reasons"]) == (1, {"bad_name": 1})
    left = await analyst.ask("list_rejected", after=None, limit=10, reason=None)
    assert [one["reason"] for one in left["rejected"]] == ["bad_name"]
    assert sum(count for count, _ in (await analyst.rollups()).values()) == 6
    assert (await analyst.run(ReplayPayload()))["counted"] == 0


async def test_only_those_of_a_reason(analyst: Analyst) -> None:
    await analyst.type("view", schema={"required": ["page"]})
    await analyst.count([event("a"), event("b") | {"time": "never"}])
    await analyst.type("view")
    assert (await analyst.run(ReplayPayload(reason=Reason.BAD_TIME)))["rejected"] == 1
    assert (await analyst.run(ReplayPayload(reason=Reason.SCHEMA_VIOLATED)))["counted"] == 1


async def test_many_are_taken_in_parts(analyst: Analyst) -> None:
    await analyst.type("view", schema={"required": ["page"]})
    await analyst.count([event(f"e{n}") for n in range(800)])
    await analyst.type("view")
    assert (await analyst.run(ReplayPayload()))["counted"] == 800

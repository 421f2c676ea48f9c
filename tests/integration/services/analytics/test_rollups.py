"""Values of dimensions are bounded and plain text, and sums are exact."""

from typing import Any

from services.analytics import rollups
from tests.analysing import Analyst, event


async def test_a_dimension_keeps_a_thousand_values_a_day(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"])
    for begin in range(0, 2_000, 500):
        await analyst.send([event(f"e{n}", page=f"/{n}") for n in range(begin, begin + 500)])
    await analyst.work(workers=4)
    found = {key: count for key, (count, _) in (await analyst.rollups()).items() if key[1] == "page"}
    assert len({key[3] for key in found}) == 1_001
    assert sum(found.values()) == 2_000
    assert sum(count for key, count in found.items() if key[3] == rollups.OTHER) == 1_000


async def test_values_of_dimensions_are_what_json_has(analyst: Analyst) -> None:
    await analyst.type("view", dimensions=["page"])
    values: list[Any] = [
        "/",
        7,
        1.5,
        True,
        None,
        {"a": 1},
        [1],
        "\x1fother",
        "x" * 300,
        "'; DROP TABLE events; --",
    ]
    await analyst.count([event(f"e{n}", page=value) for n, value in enumerate(values)])
    shown = {key[3] for key in await analyst.rollups() if key[1] == "page"}
    assert shown == {
        "/",
        "7",
        "1.5",
        "true",
        "",
        "object",
        "array",
        "other",
        "x" * 200,
        "'; DROP TABLE events; --",
    }


async def test_sums_are_exact(analyst: Analyst) -> None:
    await analyst.type("view", value="amount")
    await analyst.count([event(f"e{n}", amount=amount) for n, amount in enumerate((1e300, 0.1, 0.2, -1e300))])
    ((total,),) = await analyst.database.fetch("SELECT sum(sum)::text FROM analytics.rollups")
    assert total == "0.3"

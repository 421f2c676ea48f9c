"""The kill matrix, short: every fault once. `make chaos` runs it with as many seeds as you like."""

import asyncio

from tests.chaos.faults import FAULTS
from tests.chaos.matrix import Result, run

AT_ONCE = 4
"""Most of a run is waiting for a lease to end."""


async def test_whatever_dies_nothing_is_lost_and_nothing_counts_twice() -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(fault: str) -> Result:
        async with places:
            return await run(fault, seed=1, jobs=200, probe=40)

    results = await asyncio.gather(*(one(fault) for fault in FAULTS))
    assert [result for result in results if not result.good] == []

"""The kill matrix, short: every fault once, several in a fleet. `make chaos` has a fleet for each, and seeds."""

import asyncio

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.matrix import matrix

FLEETS = 4
"""Side by side: most of a run is waiting for a lease to end. Half of a short run would be starting a fleet."""


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_whatever_dies_nothing_is_lost_and_nothing_counts_twice() -> None:
    fleets = [list(FAULTS)[number::FLEETS] for number in range(FLEETS)]
    results = await asyncio.to_thread(lambda: list(matrix(fleets, [1], 200, at_once=FLEETS, probe=40)))
    assert sorted(result.fault for result in results) == sorted(FAULTS)
    assert [result for result in results if not result.good] == []

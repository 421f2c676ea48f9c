"""The kill matrix, short: every fault once. `make chaos` runs it with as many seeds as you like."""

import asyncio

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.matrix import matrix

AT_ONCE = 4
"""Most of a run is waiting for a lease to end."""


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_whatever_dies_nothing_is_lost_and_nothing_counts_twice() -> None:
    results = await asyncio.to_thread(lambda: list(matrix(FAULTS, [1], 200, at_once=AT_ONCE, probe=40)))
    assert len(results) == len(FAULTS)
    assert [result for result in results if not result.good] == []

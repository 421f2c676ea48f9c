"""Waits between tries."""

import itertools

import pytest

from libs.common.backoff import Backoff, delays, until_available
from libs.common.errors import Unavailable


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 2.0), (2, 4.0), (5, 32.0), (10, 600.0), (1000, 600.0)])
def test_full_jitter_stays_below_an_exponential_ceiling(failures: int, ceiling: float) -> None:
    waits = [Backoff().delay_s(failures) for _ in range(500)]
    assert all(0 <= wait <= ceiling for wait in waits)
    assert max(waits) > ceiling / 2  # it does use the room


def test_delays_grow_to_the_cap() -> None:
    waits = list(itertools.islice(delays(base_s=1, cap_s=8), 20))
    assert 0.5 <= waits[0] <= 1
    assert all(4 <= wait <= 8 for wait in waits[4:])


async def test_until_available_repeats_until_the_server_is_back() -> None:
    tries = 0

    async def call() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable
        return "back"

    assert await until_available(call) == "back"


async def test_until_available_loses_patience() -> None:
    async def call() -> None:
        raise Unavailable("still gone")

    with pytest.raises(Unavailable, match="still gone"):
        await until_available(call, patience_s=0.01)

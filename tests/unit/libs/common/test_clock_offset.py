"""A server's clock is known between two bounds, whatever is late."""

import pytest

from libs.common import clock_offset
from libs.common.clock_offset import RemoteClock

AHEAD_US = 7_000_000_000


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What time it is here, in µs; to be changed."""
    now = [1_000_000]
    monkeypatch.setattr(clock_offset, "monotonic_us", lambda: now[0])
    return now


def answered(
    clock: RemoteClock, here: list[int], *, after_us: int, late_us: int, ahead_us: int = AHEAD_US
) -> None:
    """It is asked, reads its clock after a while, and the answer is noticed later."""
    asked_us = here[0]
    here[0] += after_us
    said_us = here[0] + ahead_us
    here[0] += late_us
    clock.heard(said_us, asked_us=asked_us)


def bounds(clock: RemoteClock, here: list[int]) -> tuple[int, int]:
    """By how much it may differ from the truth."""
    truth = here[0] + AHEAD_US
    return clock.earliest_us() - truth, clock.latest_us() - truth


def test_an_answer_that_is_noticed_late_makes_it_no_earlier_than_it_may_be(here: list[int]) -> None:
    clock = RemoteClock()
    answered(clock, here, after_us=200, late_us=90_000)
    assert bounds(clock, here) == (-90_000, 200)


def test_each_answer_narrows_the_bounds_and_a_bad_one_does_not_widen_them(here: list[int]) -> None:
    clock = RemoteClock()
    for after_us, late_us, known in (
        (50_000, 300, (-300, 50_000)),
        (400, 70_000, (-300, 400)),
        (100, 100, (-100, 100)),
        (90_000, 90_000, (-100, 100)),
    ):
        answered(clock, here, after_us=after_us, late_us=late_us)
        here[0] += 1_000_000
        assert bounds(clock, here) == known


def test_a_clock_that_was_set_is_believed(here: list[int]) -> None:
    clock = RemoteClock()
    answered(clock, here, after_us=100, late_us=100, ahead_us=AHEAD_US - 5_000_000)
    answered(clock, here, after_us=2_000, late_us=1_000)
    assert bounds(clock, here) == (-1_000, 2_000)

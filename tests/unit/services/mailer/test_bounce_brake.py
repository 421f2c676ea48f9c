"""A letter stops when most of many recipients have bounced, and not before."""

import pytest

from services.mailer.bounce_brake import BounceBrake


@pytest.mark.parametrize(
    ("ended", "bounced", "is_on"),
    [(0, 0, False), (49, 49, False), (50, 25, False), (50, 26, True), (1000, 500, False)],
)
def test_it_takes_many_recipients_and_more_than_half_of_them(ended: int, bounced: int, is_on: bool) -> None:
    assert BounceBrake(ended, bounced).is_on is is_on


def test_both_are_counted() -> None:
    brake = BounceBrake()
    for number in range(60):
        brake.count(bounced=number % 3 > 0)
    assert (brake.ended, brake.bounced, brake.is_on) == (60, 40, True)

"""Values on a picture are read as Grafana shows them."""

import pytest

from deploy.grafana.panels import Unit
from deploy.local.board_pictures import chosen, readable


@pytest.mark.parametrize(
    ("value", "unit", "read"),
    [
        (0, Unit.COUNT, "0"),
        (1234, Unit.COUNT, "1.23 k"),
        (0.5, Unit.COUNT, "0.5"),
        (0.0123, Unit.SECONDS, "12.3 ms"),
        (0.999, Unit.SHARE, "99.90%"),
        (5_000_000, Unit.BYTES, "5 MB"),
        (-2.5, Unit.PER_SECOND, "-2.5 /s"),
    ],
)
def test_a_value_has_three_digits_and_its_unit(value: float, unit: Unit, read: str) -> None:
    assert readable(value, unit) == read


def test_what_is_chosen_at_the_top_of_a_board_is_asked_for() -> None:
    assert "$" not in chosen('rate(up{namespace="$namespace",queue=~"$queue"}[$__rate_interval])')

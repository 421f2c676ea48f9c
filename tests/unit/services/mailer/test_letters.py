"""What a letter's recipients amount to."""

import pytest

from services.mailer.letters import Counts


def test_those_still_open_are_counted_and_have_not_ended() -> None:
    counts = Counts({"queued": 1, "deferred": 2, "sending": 3, "sent": 10, "unknown": 20, "suppressed": 40}, 5.0)
    assert (counts.total, counts.ended) == (76, 70)


@pytest.mark.parametrize(
    ("by_state", "withdrawn", "failed"),
    [
        ({"bounced": 1, "suppressed": 2, "cancelled": 3}, 0, True),
        ({"cancelled": 2}, 1, True),
        ({"cancelled": 2}, 2, False),
        ({"bounced": 9, "unknown": 1}, 0, False),
        ({"bounced": 9, "sent": 1}, 0, False),
        ({"bounced": 9, "deferred": 1}, 0, False),
        ({}, 0, False),
    ],
)
def test_nobody_was_reached_if_all_have_ended_and_nobody_may_have_it(
    by_state: dict[str, int], withdrawn: int, failed: bool
) -> None:
    assert Counts(by_state, None, withdrawn).reached_nobody is failed


def test_a_letter_to_nobody_has_ended() -> None:
    assert (Counts({}, None).total, Counts({}, None).ended) == (0, 0)

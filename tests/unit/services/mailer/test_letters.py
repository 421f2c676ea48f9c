"""What a letter's recipients amount to."""

from services.mailer.letters import Counts


def test_those_still_open_are_counted_and_have_not_ended() -> None:
    counts = Counts({"queued": 1, "deferred": 2, "sending": 3, "sent": 10, "unknown": 20, "suppressed": 40}, 5.0)
    assert (counts.total, counts.ended) == (76, 70)


def test_a_letter_to_nobody_has_ended() -> None:
    assert (Counts({}, None).total, Counts({}, None).ended) == (0, 0)

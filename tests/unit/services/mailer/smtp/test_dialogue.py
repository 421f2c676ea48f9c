"""What an answer means, and whom a refusal is about."""

import pytest

from services.mailer.smtp.dialogue import Phase, Reply
from services.mailer.suppressions import is_hard


@pytest.mark.parametrize(
    ("phase", "code", "accepted", "in_doubt", "refused"),
    [
        (Phase.END, 250, True, False, False),
        (Phase.END, 0, False, True, False),
        (Phase.END, 354, False, True, False),
        (Phase.END, None, False, True, False),
        (Phase.END, 451, False, False, False),
        (Phase.END, 554, False, False, True),
        (Phase.RCPT, 550, False, False, True),
        (Phase.RCPT, None, False, False, False),
        (Phase.BODY, None, False, False, False),
    ],
)
def test_what_an_answer_means(
    phase: Phase, code: int | None, accepted: bool, in_doubt: bool, refused: bool
) -> None:
    reply = Reply(phase, code, "")
    assert (reply.accepted, reply.in_doubt, reply.refused) == (accepted, in_doubt, refused)


@pytest.mark.parametrize(("code", "hard"), [("5.1.1", True), ("5.1.8", False), ("5.7.1", False), (None, False)])
def test_whom_a_refusal_is_about(code: str | None, hard: bool) -> None:
    assert is_hard(code) is hard

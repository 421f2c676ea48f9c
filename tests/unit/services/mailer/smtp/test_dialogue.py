"""What an answer means."""

import pytest

from services.mailer.smtp.dialogue import Phase, Reply


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

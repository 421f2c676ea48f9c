"""A refusal is charged to a recipient only if it is about the recipient or the message."""

import pytest

from services.mailer.smtp.dialogue import Phase, Reply
from services.mailer.smtp.verdict import About, about


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.MAIL, 450, "4.7.1 too much mail from you"),
        (Phase.MAIL, 421, "4.3.2 going down"),
        (Phase.MAIL, 451, "later"),
        (Phase.MAIL, 530, "5.7.0 authentication required"),
        (Phase.RCPT, 530, "5.7.1 authentication required"),
        (Phase.MAIL, 538, "encryption required"),
        (Phase.END, 535, "5.7.8 who are you"),
    ],
)
def test_a_relay_that_takes_nothing_from_us_is_held(phase: Phase, code: int, text: str) -> None:
    assert about(Reply(phase, code, text)) is About.RELAY


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.MAIL, 550, "not you"),
        (Phase.MAIL, 553, "5.7.1 sender not owned by user"),
        (Phase.MAIL, 451, "4.1.8 domain of sender not found"),
        (Phase.RCPT, 504, "5.5.2 <localhost>: need fully-qualified hostname"),
        (Phase.RCPT, 501, "5.5.2 <->: invalid name"),
        (Phase.RCPT, 554, "5.7.1 relay access denied"),
        (Phase.RCPT, 550, "5.7.1 blocked"),
        (Phase.RCPT, 503, "need MAIL"),
    ],
)
def test_a_sender_that_is_refused_is_held(phase: Phase, code: int, text: str) -> None:
    assert about(Reply(phase, code, text)) is About.SENDER


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.MAIL, 552, "5.3.4 message too big"),
        (Phase.MAIL, 452, "4.3.1 no room for so much"),
        (Phase.MAIL, 553, "5.1.7 no such sender"),
        (Phase.MAIL, None, "no answer to MAIL"),
        (Phase.LOCAL, 553, "5.1.3 not an address that can be sent to"),
        (Phase.RCPT, 550, "5.1.1 nobody"),
        (Phase.RCPT, 550, "5.5.0 mailbox unavailable"),
        (Phase.RCPT, 501, "5.5.4 invalid address"),
        (Phase.RCPT, 450, "4.7.1 greylisted"),
        (Phase.RCPT, 421, "4.3.2 going down"),
        (Phase.BODY, 552, "5.3.4 message too big"),
        (Phase.END, 554, "5.7.1 looks like spam"),
        (Phase.END, 250, "2.0.0 taken"),
    ],
)
def test_what_is_about_a_recipient_or_a_message_is_theirs(phase: Phase, code: int | None, text: str) -> None:
    assert about(Reply(phase, code, text)) is About.DELIVERY

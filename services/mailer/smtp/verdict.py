"""What a reply of a relay is about: a refusal of us or of the sender must not be charged to a recipient.

The code and the step say most. The enhanced code (RFC 3463) decides where relays use one code for several things.
"""

from enum import StrEnum

from services.mailer.smtp.dialogue import Phase, Reply

LOGIN_CODES = frozenset({530, 534, 535, 538})
"""A login or TLS is missing or wrong (RFC 4954, 6; RFC 3207, 4)."""
DIALOGUE_CODES = frozenset({500, 502, 503, 504, 555})
"""The relay does not like how we speak (RFC 5321, 4.2.2), as our name in EHLO. 501 may be about an address."""
MAILBOX_CODES = frozenset({550, 551, 552, 553})
INSUFFICIENT_STORAGE = 452


class About(StrEnum):
    """What a reply is about, and so who has to wait because of it."""

    RELAY = "relay"
    """Us, or the connection: the relay takes no mail from us now, whosever it is."""
    SENDER = "sender"
    """The sender: all recipients of the letter would be refused."""
    DELIVERY = "delivery"
    """This recipient, or the message itself. Also any reply that is no refusal."""


def about(reply: Reply) -> About:
    """Say what a reply to a message is about."""
    if reply.code is None or reply.code < 400:
        return About.DELIVERY
    if reply.code in LOGIN_CODES:
        return About.RELAY
    if reply.phase is Phase.MAIL:
        return _about_mail(reply.code, reply.enhanced or "")
    if reply.phase is Phase.RCPT and _blames_us(reply.code, reply.enhanced or ""):
        return About.SENDER
    return About.DELIVERY


def _about_mail(code: int, enhanced: str) -> About:
    if code < 500:
        if enhanced.startswith("4.1."):
            return About.SENDER
        return About.DELIVERY if code == INSUFFICIENT_STORAGE else About.RELAY
    if enhanced.startswith(
        "5.7."
    ):  # before the code: Postfix says 553 5.7.1 to a sender that the login may not use
        return About.SENDER
    is_size = code == 552 or enhanced in ("5.2.3", "5.3.4")
    is_address = code == 553 or enhanced.startswith(("5.1.", "5.6."))
    return About.DELIVERY if is_size or is_address else About.SENDER


def _blames_us(code: int, enhanced: str) -> bool:
    """Whether a refusal at RCPT is about us. Policies and the name in EHLO are checked there by default.

    5.5.0 with a code of mailboxes is what some large providers say of a mailbox that does not exist, and 501 5.5.4
    is said of an address that cannot be read.
    """
    if enhanced.startswith("5.5."):
        return code not in MAILBOX_CODES and (code, enhanced) != (501, "5.5.4")
    return enhanced.startswith("5.7.") or code in DIALOGUE_CODES

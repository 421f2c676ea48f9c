"""Letters: to whom, and what cannot be one."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.gateway.endpoints.mail import AddressedLetter, Attachment, MailSubmission

LETTER: dict[str, Any] = {"from": "Harbour <office@example.com>", "subject": "Tides", "text": "High."}
TO = {"to": ["ada@example.com"]}
MANY = {"recipients": [{"to": "ada@example.com", "variables": {"name": "Ada"}}]}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        TO | MANY,
        TO | {"days_before": [3]},
        MANY | {"cc": ["bob@example.com"]},
        MANY | {"bcc": ["bob@example.com"]},
        TO | {"cc": ["Ada <ADA@example.com>"]},
        TO | {"bcc": ["ada@EXAMPLE.com"]},
        MANY | {"deadlines": "tender:"},
        TO | {"template": "tides"},
        MANY | {"template": "tides"},
        {"days_before": [367]},
        {"days_before": list(range(11))},
        {"days_before": [3], "deadlines": "a b"},
        {"to": [f"n{number}@example.com" for number in range(101)]},
    ],
)
def test_a_letter_goes_to_somebody_in_one_way_and_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AddressedLetter.model_validate(LETTER | wrong)


def test_whoever_is_addressed_or_copied_is_a_recipient() -> None:
    letter = AddressedLetter.model_validate(LETTER | TO | {"cc": ["bob@example.com"], "bcc": ["eve@example.com"]})
    payload = letter.payload()
    assert [recipient.address for recipient in payload.recipients] == [
        "ada@example.com", "bob@example.com", "eve@example.com",
    ]  # fmt: skip
    assert (payload.to, payload.cc) == (("ada@example.com",), ("bob@example.com",))
    assert not payload.is_template, "its text is sent as it stands"


def test_a_letter_to_many_is_a_template() -> None:
    for many in (MANY, {"days_before": [7, 3]}):
        payload = AddressedLetter.model_validate(LETTER | many).payload()
        assert payload.is_template
        assert (payload.to, payload.cc) == ((), ())
    assert payload.days_before == (7, 3)
    kept = {"from": LETTER["from"], "template": "tides@3"}
    letter = AddressedLetter.model_validate(kept | MANY).payload().letter
    assert letter is not None
    assert letter.template == "tides@3"


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "not base64!"},
        {"content": "QQ"},
        {"media_type": "text"},
        {"media_type": "Text/plain"},
        {"filename": ""},
        {"filename": "a\r\nBcc: eve@example.com"},
        {"content_id": "<x>"},
    ],
    ids=str,
)
def test_what_is_no_file(wrong: dict[str, Any]) -> None:
    good = {"filename": "a.txt", "media_type": "text/plain", "content": "QQ=="}
    assert Attachment.model_validate(good)
    with pytest.raises(ValidationError):
        Attachment.model_validate(good | wrong)


def test_twenty_files_go_with_a_letter() -> None:
    file = {"filename": "a.txt", "media_type": "text/plain", "content": ""}
    assert len(MailSubmission.model_validate(LETTER | TO | {"attachments": [file] * 20}).attachments) == 20
    with pytest.raises(ValidationError):
        MailSubmission.model_validate(LETTER | TO | {"attachments": [file] * 21})

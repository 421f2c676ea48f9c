"""Letters: to whom, and what cannot be one."""

import base64
import json
from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.contracts.mail import RECIPIENTS_AT_MOST, MailPayload
from services.gateway.endpoints.letters import (
    AddressedLetter,
    Attachment,
    MailSubmission,
    read_letter,
)
from services.gateway.endpoints.submission import JobFields
from services.gateway.field_errors import AT_MOST
from services.gateway.http.json_budgets import LETTER_VALUES_AT_MOST
from services.gateway.problems import BadRequest, Invalid, TooLarge

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


def test_what_is_read_of_a_letter_is_all_that_is_passed_on() -> None:
    files = [{"filename": name, "media_type": "text/plain", "content": "aGk="} for name in ("a", "b")]
    body = LETTER | TO | {"attachments": files, "tags": ["t"], "run_at": "2035-01-01T00:00:00Z"}
    read = read_letter(json.dumps(body).encode(), "folder")
    assert JobFields.model_validate_json(read.fields).tags == ("t",)
    assert read.files == (base64.b64decode("aGk="),) * 2
    payload = MailPayload.model_validate_json(read.payload)
    assert [one.key for one in payload.attachments] == ["folder/attachment-0", "folder/attachment-1"]
    assert payload.letter is not None
    assert payload.letter.text == LETTER["text"]
    spaced = read_letter(json.dumps(body, indent=2).encode(), "another")
    assert spaced.fingerprint == read.fingerprint, "the same letter, however it is written and wherever it goes"


def test_the_largest_letter_is_within_its_budget() -> None:
    variables = {f"v{number}": "x" for number in range(20)}
    many = [{"to": f"a{n}@one.test", "variables": variables} for n in range(RECIPIENTS_AT_MOST)]
    read = read_letter(json.dumps(LETTER | {"recipients": many}).encode(), "folder")
    assert len(MailPayload.model_validate_json(read.payload).recipients) == RECIPIENTS_AT_MOST


@pytest.mark.parametrize(
    ("variables", "refused", "members"),
    [
        ("[" + "[]," * LETTER_VALUES_AT_MOST + "1]", TooLarge, {"max_values": LETTER_VALUES_AT_MOST}),
        ("[" * 300 + "]" * 300, TooLarge, {"max_depth": 200}),
        ("1" * 1_000_000, TooLarge, {"max_digits": 1000}),
        ("NaN", BadRequest, {}),
    ],
    ids=["values", "depth", "digits", "nan"],
)
def test_a_letter_beyond_a_budget_is_refused_by_its_name(
    variables: str, refused: type[Exception], members: dict[str, int]
) -> None:
    body = json.dumps(LETTER | {"recipients": [{"to": "a@one.test", "variables": {"x": "HERE"}}]})
    with pytest.raises(refused) as caught:
        read_letter(body.replace('"HERE"', variables).encode(), "folder")
    assert caught.value.members == members  # type: ignore[attr-defined]


def test_a_letter_all_wrong_gets_a_short_answer() -> None:
    wrong = {"to": "a@one.test"} | {f"k{number}" + "x" * 1000: 1 for number in range(1000)}
    with pytest.raises(Invalid) as caught:
        read_letter(json.dumps(LETTER | {"recipients": [wrong]}).encode(), "folder")
    assert len(caught.value.members["errors"]) == AT_MOST
    assert len(str(caught.value.members)) < 50_000

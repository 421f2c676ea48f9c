"""The body of POST /v1/mail: what it may be, and what the gateway makes of it.

A long one is read in a child process (`http/reading_processes.py`), which takes a second for 10,000 recipients.
"""

import base64
import hashlib
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from libs.common.contracts.mail import (
    LINE,
    RECIPIENTS_AT_MOST,
    Address,
    AddressedRecipient,
    AttachedFile,
    Letter,
    MailPayload,
    Recipient,
    refuse_twice,
)
from libs.common.contracts.whole_numbers import WHOLE
from services.gateway.endpoints.submission import JobFields
from services.gateway.http.json_budgets import LETTER_VALUES_AT_MOST
from services.gateway.http.json_io import parse_json

NAMED_AT_MOST = 100
"""The maximum number of addresses in each of to, cc and bcc."""


def _decoded(content: str) -> str:
    try:
        base64.b64decode(content, validate=True)
    except NotBase64:
        raise ValueError("Not base64.") from None
    return content


class Attachment(BaseModel):
    """A file attached to a letter; `content` is base64."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, Field(min_length=1, max_length=255, pattern=LINE)]
    media_type: Annotated[str, Field(max_length=127, pattern=r"^[a-z]+/[a-z0-9][a-z0-9.+-]*$")]
    content: Annotated[str, Field(json_schema_extra={"format": "base64"}), AfterValidator(_decoded)]
    content_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}(@[A-Za-z0-9.-]{1,100})?$")] | None = None
    """The Content-ID, for `<img src="cid:…">`."""


Addresses = Annotated[tuple[Address, ...], Field(max_length=NAMED_AT_MOST)]


def _template_schema(to: str, not_to: tuple[str, ...]) -> dict[str, Any]:
    """The JSON Schema of a letter that is a template, stored or its own, with its recipients in `to`."""
    return {
        "required": [to],
        "properties": {
            to: {"minItems": 1},
            **{name: {"maxItems": 0} for name in not_to},
            **({} if to == "days_before" else {"deadlines": {"maxLength": 0}}),
        },
        "anyOf": [
            {"properties": {"template": {"type": "null"}}},
            {"properties": {"text": {"type": "null"}, "html": {"type": "null"}}},
        ],
    }


class AddressedLetter(Letter):
    """A letter to `to`, `cc` and `bcc`; or a template, rendered for each of `recipients` or `days_before`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {
                    "required": ["to"],
                    "properties": {
                        "to": {"minItems": 1},
                        "recipients": {"maxItems": 0},
                        "days_before": {"maxItems": 0},
                        "deadlines": {"maxLength": 0},
                        "template": {"type": "null"},
                    },
                },
                _template_schema("recipients", ("to", "cc", "bcc", "days_before")),
                _template_schema("days_before", ("to", "cc", "bcc", "recipients")),
            ],
            "examples": [
                {
                    "from": "Harbour <office@example.com>",
                    "subject": "Ahoy {{ name }}",
                    "text": "Your cargo is in, {{ name }}.",
                    "recipients": [{"to": "ada@example.com", "variables": {"name": "Ada"}}],
                }
            ],
        },
    )

    to: Addresses = ()
    cc: Addresses = ()
    bcc: Addresses = ()
    recipients: Annotated[tuple[Recipient, ...], Field(max_length=RECIPIENTS_AT_MOST)] = ()
    days_before: Annotated[tuple[Annotated[int, Field(ge=0, le=366), WHOLE], ...], Field(max_length=10)] = ()
    """Instead of recipients: all followers of deadlines at most so many days away, once for each number."""
    deadlines: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._:-]*$")] = ""
    """With `days_before`: only deadlines whose names begin with this."""

    @model_validator(mode="after")
    def _has_one_kind_of_recipients(self) -> Self:
        if [bool(self.to), bool(self.recipients), bool(self.days_before)].count(True) != 1:
            raise ValueError("Give exactly one of `to`, `recipients` and `days_before`.")
        if not self.to and (self.cc or self.bcc):
            raise ValueError("`cc` and `bcc` need `to`.")
        if self.deadlines and not self.days_before:
            raise ValueError("`deadlines` needs `days_before`.")
        return self

    @model_validator(mode="after")
    def _has_one_text(self) -> Self:
        if self.template is not None and (self.to or self.text is not None or self.html is not None):
            raise ValueError("A letter with `template` cannot have `to`, `text` or `html`.")
        return self

    @model_validator(mode="after")
    def _refuse_duplicates(self) -> Self:
        refuse_twice([*self.to, *self.cc, *self.bcc, *(recipient.to for recipient in self.recipients)])
        return self

    def payload(self, attached: tuple[AttachedFile, ...] = ()) -> MailPayload:
        """The payload of the mailer's job."""
        copies = [Recipient.model_construct(to=address) for address in (*self.to, *self.cc, *self.bcc)]
        return MailPayload.model_construct(
            letter=Letter.model_construct(**{name: getattr(self, name) for name in Letter.model_fields}),
            to=self.to,
            cc=self.cc,
            recipients=tuple(AddressedRecipient.of(recipient) for recipient in (*copies, *self.recipients)),
            is_template=not self.to,
            days_before=self.days_before,
            deadlines=self.deadlines,
            attachments=attached,
        )


class MailSubmission(AddressedLetter, JobFields):
    """The body of POST /v1/mail: a letter, its attachments, and the fields of its job."""

    attachments: Annotated[tuple[Attachment, ...], Field(max_length=20)] = ()


@dataclass(frozen=True, slots=True)
class ReadLetter:
    """A letter as the gateway passes it on. `fields`: JSON for JobFields; `payload`: that of the mailer's job."""

    fields: str
    payload: bytes
    fingerprint: bytes
    files: tuple[bytes, ...]
    """The contents of the attachments, to be stored under the keys that the payload has for them."""


def read_letter(body: bytes, folder: str) -> ReadLetter:
    """Read the body of a submission whose attachments go into `folder`. Raises TooLarge, BadRequest, Invalid."""
    letter = parse_json(body, MailSubmission, within="body", values_at_most=LETTER_VALUES_AT_MOST)
    attached = tuple(
        AttachedFile(key=attachment_key(folder, number), **attachment.model_dump(exclude={"content"}))
        for number, attachment in enumerate(letter.attachments)
    )
    return ReadLetter(
        fields=letter.model_dump_json(include=set(JobFields.model_fields)),
        payload=letter.payload(attached).model_dump_json(by_alias=True).encode(),
        fingerprint=hashlib.sha256(letter.model_dump_json(by_alias=True).encode()).digest(),
        files=tuple(base64.b64decode(attachment.content) for attachment in letter.attachments),
    )


def attachment_key(folder: str, number: int) -> str:
    """Where an attachment is stored."""
    return f"{folder}/attachment-{number}"

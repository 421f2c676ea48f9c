"""/v1/mail: submit letters as jobs, list their recipients' states, unsubscribe by link."""

import asyncio
import base64
import hashlib
from binascii import Error as NotBase64
from collections.abc import AsyncIterator
from html import escape
from importlib import resources
from string import Template
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from libs.common.blobs import job_folder
from libs.common.contracts.ids import parse_id
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
from libs.common.ledger import retention
from libs.common.ledger.jobs import new_id
from services.gateway.endpoints.service_client import call_service
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.state import state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import (
    IdempotencyMismatch,
    Invalid,
    NotFound,
    invalid_fields,
)

NAMED_AT_MOST = 100
"""The maximum number of addresses in each of to, cc and bcc."""
_PAGE = Template(resources.files(__package__).joinpath("unsubscribe.html").read_text())


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
            "oneOf": [
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


State = Literal["queued", "sending", "sent", "deferred", "bounced", "suppressed", "unknown", "cancelled"]


class RecipientListQuery(BaseModel):
    """The query of GET /v1/mail/{id}/recipients."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    after: Annotated[int, Field(ge=-1, le=2**31 - 1), WHOLE] = -1
    """The number of the last recipient seen."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


async def submit_mail(request: Request) -> Response:
    """Send a letter to some recipients, or a template to many. Every recipient has a state of its own."""
    state, principal = state_of(request), caller(request)
    at_most = state.settings.gateway_max_mail_bytes
    body = await read_json(request, MailSubmission, at_most=at_most)
    job_id = new_id()
    folder = job_folder(principal.tenant, job_id)
    fingerprint = hashlib.sha256(body.model_dump_json(by_alias=True).encode()).digest()
    if body.attachments:
        await retention.announce_upload(state.database, job_id, folder)
    attached, size = await _attached(request, folder, body.attachments)
    payload = body.payload(attached)
    content = await asyncio.to_thread(payload.model_dump_json, by_alias=True)
    try:
        job = new_job(
            request, principal, body,
            job_id=job_id, queue="mailer", kind="letter", payload=content.encode(), fingerprint=fingerprint,
            size=size,
        )  # fmt: skip
        return await submit(request, job)
    except (Invalid, IdempotencyMismatch):
        await state.blobs.discard(folder)
        raise


async def recurring_letter(
    _request: Request, _principal: Principal, _folder: str, payload: dict[str, Any]
) -> tuple[str, bytes]:
    """Kind and payload of a recurring letter. Raises Invalid."""
    try:
        letter = AddressedLetter.model_validate_json(to_json(payload), strict=True)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    return "letter", letter.payload().model_dump_json(by_alias=True).encode()


async def list_recipients(request: Request) -> Response:
    """The recipients of a letter in order, with the state of each, and the number in each state."""
    wanted = read_query(request, RecipientListQuery)
    job_id = parse_id(request.path_params["id"])
    if job_id is None:
        raise NotFound("There is no such letter.")
    query = {"letter": job_id.hex, "after": wanted.after, "limit": wanted.limit, "state": wanted.state}
    return json_response(await call_service(request, "mailer", "recipients", query))


async def show_unsubscribe(request: Request) -> Response:
    """The page behind a letter's unsubscribe link: a button. GET changes nothing, as mail scanners open links."""
    await call_service(request, "mailer", "may_unsubscribe", {"token": request.path_params["token"]}, tenant="")
    return HTMLResponse(_PAGE.substitute(action=escape(request.url.path), done="hidden", ask=""))


async def unsubscribe(request: Request) -> Response:
    """Unsubscribe with one click (RFC 8058): the address in the token gets no more mail from the tenant."""
    await call_service(request, "mailer", "unsubscribe", {"token": request.path_params["token"]}, tenant="")
    return HTMLResponse(_PAGE.substitute(action="", done="", ask="hidden"))


async def _attached(
    request: Request, folder: str, attachments: tuple[Attachment, ...]
) -> tuple[tuple[AttachedFile, ...], int]:
    """Store the files. Returns them, and their total size in bytes. Raises StorageUnavailable, and leaves none."""
    blobs = state_of(request).blobs
    files, size = [], 0
    try:
        for number, attachment in enumerate(attachments):
            key = f"{folder}/attachment-{number}"
            size += (await blobs.write(key, _whole(base64.b64decode(attachment.content)))).size
            files.append(AttachedFile(key=key, **attachment.model_dump(exclude={"content"})))
    except BaseException:
        await blobs.discard(folder)
        raise
    return tuple(files), size


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

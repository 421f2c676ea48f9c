"""/v1/mail: letters in, jobs out; how their recipients stand; who gets no mail."""

import asyncio
import base64
import hashlib
import re
from binascii import Error as NotBase64
from collections import Counter
from html import escape
from importlib import resources
from string import Template
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from libs.common import queries
from libs.common.blobs import job_folder
from libs.common.contracts.ids import parse_id
from libs.common.contracts.mail import (
    LINE,
    RECIPIENTS_AT_MOST,
    TEMPLATE_NAME,
    Address,
    Addressed,
    Attached,
    Letter,
    Letterhead,
    Line,
    MailPayload,
    Recipient,
    TemplateReference,
    parse_mailbox,
)
from libs.common.contracts.numbers import WHOLE
from libs.common.ledger.jobs import new_id
from libs.common.queries import QUESTION_BYTES_AT_MOST, Refused, TooLong
from services.gateway.bodies import Moment, answer, read_json, read_query
from services.gateway.door import caller
from services.gateway.problems import (
    Conflict,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    ServiceUnavailable,
    TooLarge,
    invalid_fields,
)
from services.gateway.scopes import Principal
from services.gateway.submitting import JobFields, new_job, submit

NAMED_AT_MOST = 100
"""In each of to, cc and bcc."""
SUPPRESSED_AT_MOST = 1000
"""In one request."""
BODY_BYTES_AT_MOST = 3 * 1024 * 1024
"""As a caller writes it, perhaps with six bytes a character; what the mailer is sent is shorter."""
KeptBody = Annotated[str, Field(max_length=200_000)]
_PAGE = Template(resources.files("services.gateway").joinpath("unsubscribe.html").read_text())


def _decoded(content: str) -> str:
    try:
        base64.b64decode(content, validate=True)
    except NotBase64:
        raise ValueError("Not base64.") from None
    return content


class Attachment(BaseModel):
    """A file that goes with a letter; `content` in base64."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, Field(min_length=1, max_length=255, pattern=LINE)]
    media_type: Annotated[str, Field(max_length=127, pattern=r"^[a-z]+/[a-z0-9][a-z0-9.+-]*$")]
    content: Annotated[str, Field(json_schema_extra={"format": "base64"}), AfterValidator(_decoded)]
    content_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}(@[A-Za-z0-9.-]{1,100})?$")] | None = None
    """For `<img src="cid:…">`."""


Named = Annotated[tuple[Address, ...], Field(max_length=NAMED_AT_MOST)]


class AddressedLetter(Letter):
    """A letter: to those in `to`, `cc` and `bcc`; or, as a template, to each of `recipients`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["to"],
                    "properties": {
                        "to": {"minItems": 1},
                        "recipients": {"maxItems": 0},
                        "template": {"type": "null"},
                    },
                },
                {
                    "required": ["recipients"],
                    "properties": {
                        "recipients": {"minItems": 1},
                        **{name: {"maxItems": 0} for name in ("to", "cc", "bcc")},
                    },
                    "anyOf": [
                        {"properties": {"template": {"type": "null"}}},
                        {"properties": {"text": {"type": "null"}, "html": {"type": "null"}}},
                    ],
                },
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

    to: Named = ()
    cc: Named = ()
    bcc: Named = ()
    recipients: Annotated[tuple[Recipient, ...], Field(max_length=RECIPIENTS_AT_MOST)] = ()

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if bool(self.to) == bool(self.recipients):
            raise ValueError("Either `to`, or `recipients`.")
        if self.recipients and (self.cc or self.bcc):
            raise ValueError("A letter to `recipients` has no cc and bcc.")
        return self

    @model_validator(mode="after")
    def _has_one_text(self) -> Self:
        if self.template is not None and not (self.recipients and self.text is None and self.html is None):
            raise ValueError("A letter from a template goes to `recipients`, and has no text and html of its own.")
        return self

    @model_validator(mode="after")
    def _writes_to_nobody_twice(self) -> Self:
        named = [*self.to, *self.cc, *self.bcc, *(recipient.to for recipient in self.recipients)]
        counts = Counter(parse_mailbox(address).address.lower() for address in named)
        twice = sorted(address for address, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"{len(twice)} addresses are there more than once, such as {twice[0]}.")
        return self

    def payload(self, attached: tuple[Attached, ...] = ()) -> MailPayload:
        """As the mailer takes it."""
        copies = [Recipient.model_construct(to=address) for address in (*self.to, *self.cc, *self.bcc)]
        return MailPayload.model_construct(
            letter=Letter.model_construct(**{name: getattr(self, name) for name in Letter.model_fields}),
            to=self.to,
            cc=self.cc,
            recipients=tuple(Addressed.of(recipient) for recipient in (*copies, *self.recipients)),
            is_template=bool(self.recipients),
            attachments=attached,
        )


class MailSubmission(AddressedLetter, JobFields):
    """The body of POST /v1/mail: a letter, its files, and the fields of its job."""

    attachments: Annotated[tuple[Attachment, ...], Field(max_length=20)] = ()


class NewTemplate(BaseModel):
    """The body of PUT /v1/templates/{name}; `{{ name }}` is a variable of a recipient."""

    model_config = ConfigDict(extra="forbid")

    subject: Line = ""
    text: KeptBody | None = None
    html: KeptBody | None = None


class Preview(NewTemplate):
    """The body of POST /v1/mail/preview: a template, or the name of one that is kept, and variables to fill in."""

    template: TemplateReference | None = None
    variables: dict[str, Any] = {}


State = Literal["queued", "sending", "sent", "deferred", "bounced", "suppressed", "unknown", "cancelled"]


class RecipientListing(BaseModel):
    """The query of GET /v1/mail/{id}/recipients."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    after: Annotated[int, Field(ge=-1, le=RECIPIENTS_AT_MOST), WHOLE] = -1
    """The number of the last one seen."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


class TemplateListing(BaseModel):
    """The query of GET /v1/templates."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(max_length=100)] = ""
    """The name of the last one seen."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


class SuppressionListing(BaseModel):
    """The query of GET /v1/suppressions."""

    model_config = ConfigDict(extra="forbid")

    address: Address | None = None
    after: Annotated[int, Field(ge=0, le=2**62), WHOLE] = 0
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 100


class NewSuppressions(BaseModel):
    """The body of POST /v1/suppressions."""

    model_config = ConfigDict(extra="forbid")

    addresses: Annotated[tuple[Address, ...], Field(min_length=1, max_length=SUPPRESSED_AT_MOST)]
    reason: Literal["bounce", "complaint", "unsubscribe", "manual"] = "manual"
    expires_at: Moment | None = None


async def submit_mail(request: Request) -> Response:
    """A letter to some, or a template to many. Every recipient has a state of its own."""
    state, principal = request.app.state, caller(request)
    at_most = state.settings.gateway_max_mail_bytes
    asked = await read_json(request, MailSubmission, at_most=at_most)
    job_id = new_id()
    folder = job_folder(principal.tenant, job_id)
    fingerprint = hashlib.sha256(asked.model_dump_json(by_alias=True).encode()).digest()
    attached, size = await _attached(request, folder, asked.attachments)
    payload = asked.payload(attached)
    content = await asyncio.to_thread(payload.model_dump_json, by_alias=True)
    try:
        job = new_job(
            request, principal, asked,
            job_id=job_id, queue="mailer", kind="letter", payload=content.encode(), fingerprint=fingerprint,
            size=size,
        )  # fmt: skip
        return await submit(request, job)
    except (Invalid, IdempotencyMismatch):
        await state.blobs.delete_folder(folder)
        raise


async def recurring_letter(
    _request: Request, _principal: Principal, _folder: str, payload: dict[str, Any]
) -> tuple[str, bytes]:
    """Kind and payload of a recurring letter. Raises Invalid."""
    try:
        asked = AddressedLetter.model_validate_json(orjson.dumps(payload), strict=True)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    return "letter", asked.payload().model_dump_json(by_alias=True).encode()


async def list_recipients(request: Request) -> Response:
    """Recipients of a letter in their order, with what became of each, and how many there are in each state."""
    wanted = read_query(request, RecipientListing)
    job_id = parse_id(request.path_params["id"])
    if job_id is None:
        raise NotFound("There is no such letter.")
    question = {"letter": job_id.hex, "after": wanted.after, "limit": wanted.limit, "state": wanted.state}
    return answer(await _ask(request, "recipients", question))


async def preview_mail(request: Request) -> Response:
    """A template as somebody with these variables would read it, or what is wrong with it. Nothing is sent."""
    asked = await read_json(request, Preview, at_most=BODY_BYTES_AT_MOST)
    letter = Letter(**{"from": "nobody@example.com"}, **asked.model_dump(exclude={"variables"}))
    head = Letterhead(letter=letter, is_template=True)
    question = {"letterhead": head.model_dump(mode="json", by_alias=True), "variables": asked.variables}
    nothing: dict[str, Any] = dict.fromkeys(("subject", "text", "html", "problem"))
    try:
        return answer(nothing | await _ask(request, "preview", question))
    except (Refused, NotFound) as refused:
        return answer(nothing | {"problem": str(refused)})


async def put_template(request: Request) -> Response:
    """Keep a template. Each time it is kept it has a new version; letters name the last one, or one of them."""
    name = request.path_params["name"]
    if not re.fullmatch(TEMPLATE_NAME, name):
        raise Invalid(
            errors=[{"field": "path.name", "message": "Lower-case letters, digits, - and _; 100 at most."}]
        )
    asked = await read_json(request, NewTemplate, at_most=BODY_BYTES_AT_MOST)
    try:
        return answer(await _ask(request, "put_template", asked.model_dump() | {"name": name}))
    except Refused as refused:
        raise Conflict(str(refused)) from refused


async def show_template(request: Request) -> Response:
    """A template in its last version; as `name@3`, in that one."""
    return answer(await _ask(request, "get_template", {"reference": request.path_params["name"]}))


async def list_templates(request: Request) -> Response:
    """Templates in their last versions, by name, without their text."""
    wanted = read_query(request, TemplateListing)
    return answer(await _ask(request, "list_templates", wanted.model_dump()))


async def list_suppressions(request: Request) -> Response:
    """Addresses that get no mail from this tenant, in the order in which they were entered."""
    wanted = read_query(request, SuppressionListing)
    return answer(await _ask(request, "list_suppressions", wanted.model_dump()))


async def add_suppressions(request: Request) -> Response:
    """From now on these addresses get no mail from this tenant; letters that are under way included."""
    asked = await read_json(request, NewSuppressions, at_most=BODY_BYTES_AT_MOST)
    return answer(await _ask(request, "add_suppressions", asked.model_dump(mode="json")))


async def remove_suppression(request: Request) -> Response:
    """This address may get mail again."""
    address = request.path_params["address"]
    try:
        parse_mailbox(address)
    except ValueError as error:
        raise NotFound("This address is not suppressed.") from error
    await _ask(request, "remove_suppression", {"address": address})
    return Response(status_code=204)


async def show_unsubscribe(request: Request) -> Response:
    """What the link in a letter shows: a button. Nothing happens by looking (mail scanners look at links)."""
    return HTMLResponse(_PAGE.substitute(action=escape(request.url.path), done="hidden", ask=""))


async def unsubscribe(request: Request) -> Response:
    """One click (RFC 8058): whom the token names gets no more mail from the tenant, from now on."""
    await _ask(request, "unsubscribe", {"token": request.path_params["token"]}, tenant="")
    return HTMLResponse(_PAGE.substitute(action="", done="", ask="hidden"))


async def _attached(
    request: Request, folder: str, attachments: tuple[Attachment, ...]
) -> tuple[tuple[Attached, ...], int]:
    """The files in the blob store, and their bytes together."""
    kept, size = [], 0
    for number, attachment in enumerate(attachments):
        content = base64.b64decode(attachment.content)

        async def whole(content: bytes = content) -> Any:
            yield content

        stored = await request.app.state.blobs.write(f"{folder}/attachment-{number}", whole())
        size += stored.size
        named = attachment.model_dump(exclude={"content"})
        kept.append(Attached(key=f"{folder}/attachment-{number}", **named))
    return tuple(kept), size


async def _ask(
    request: Request, name: str, question: dict[str, Any], *, tenant: str | None = None
) -> dict[str, Any]:
    """The mailer's answer. Raises NotFound, TooLarge, ServiceUnavailable, Unavailable, or else Refused."""
    whose = caller(request).tenant if tenant is None else tenant
    try:
        return await queries.ask(request.app.state.bus, "mailer", name, whose, question)
    except TooLong as error:
        raise TooLarge(f"This may have at most {QUESTION_BYTES_AT_MOST} bytes in UTF-8.") from error
    except TimeoutError as error:
        raise ServiceUnavailable from error
    except Refused as refused:
        if refused.reason in ("not_found", "token_invalid", "template_missing"):
            raise NotFound(str(refused)) from refused
        if refused.reason in ("unavailable", "bug"):
            raise ServiceUnavailable from refused
        raise

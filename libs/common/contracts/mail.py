"""The data exchanged between the gateway and the mailer."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import time
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from libs.common.contracts.time_zones import Zone
from libs.common.contracts.whole_numbers import WHOLE

RECIPIENTS_AT_MOST = 10_000
FOLLOWERS_AT_MOST = 1_000
"""Of one deadline."""
LINE = r"^[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*$"
"""One line of text, without any character that some parser may take for the end of a header."""
NOT_AN_ADDRESS = "Not an email address such as ada@example.com or Ada Lovelace <ada@example.com>."
ALLOWED_HEADERS = (
    r"^(X-[A-Za-z0-9-]{1,60}|In-Reply-To|References|Auto-Submitted|Precedence|Importance|Priority|Sensitivity"
    r"|Keywords|Comments|Organization|List-Id|List-Help|List-Post|List-Owner|List-Archive|Feedback-ID|Content-Language)$"
)
"""Further headers that callers may set: none that names sender or recipients, or describes the MIME structure."""


class Mailbox(NamedTuple):
    """A display name, which may be empty, and an email address, whose domain is in ASCII."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """The part of the address after the @."""
        return self.address.rpartition("@")[2]


@lru_cache(maxsize=2 * RECIPIENTS_AT_MOST)
def parse_mailbox(text: str) -> Mailbox:
    """Parse `ada@example.com` or `Ada Lovelace <ada@example.com>`. Raises ValueError."""
    if not re.match(LINE, text) or len(text) > 500:
        raise ValueError(NOT_AN_ADDRESS)
    named = re.fullmatch(r'\s*"?([^<>"]*?)"?\s*<([^<>]+)>\s*', text)
    name, address = (named[1], named[2]) if named else ("", text.strip())
    try:
        found = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(NOT_AN_ADDRESS) from error
    return Mailbox(name, f"{found.local_part}@{found.ascii_domain.lower()}")


def refuse_twice(addresses: Iterable[str]) -> None:
    """Raises ValueError if an address occurs more than once. The comparison ignores case and display names."""
    counts = Counter(parse_mailbox(address).address.lower() for address in addresses)
    twice = sorted(address for address, count in counts.items() if count > 1)
    if twice:
        raise ValueError(f"{len(twice)} addresses occur more than once, such as {twice[0]}.")


def _is_mailbox(text: str) -> str:
    parse_mailbox(text)
    return text


Address = Annotated[
    str, Field(min_length=3, max_length=500, json_schema_extra={"format": "mailbox"}), AfterValidator(_is_mailbox)
]
Line = Annotated[str, Field(max_length=998, pattern=LINE)]
HeaderName = Annotated[str, Field(pattern=ALLOWED_HEADERS)]
TEMPLATE_NAME = "[a-z0-9][a-z0-9_-]{0,99}"
DEADLINE_NAME = "[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"
TemplateReference = Annotated[str, Field(pattern=f"^{TEMPLATE_NAME}(@[1-9][0-9]{{0,6}})?$")]
Body = Annotated[str, Field(max_length=1_000_000)]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(BaseModel):
    """No mail between these times in the recipient's time zone. If `begin` is after `end`, they span midnight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: Clock
    end: Clock


class Letter(BaseModel):
    """The content of a message, and how to send it.

    In a letter to `recipients` or `days_before`, subject, text and html are Jinja2 templates, rendered once per
    recipient.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    sender: Annotated[Address, Field(alias="from")]
    reply_to: Address | None = None
    subject: Line = ""
    text: Body | None = None
    html: Body | None = None
    """Rules in <style> elements are inlined. Without `text`, the plain text is generated from the HTML."""
    template: TemplateReference | None = None
    """A stored template, instead of subject, text and html: `name` for its last version, or `name@3`."""
    headers: Annotated[
        dict[HeaderName, Line], Field(max_length=20, json_schema_extra={"additionalProperties": False})
    ] = {}
    unsubscribe: bool = False
    """Add a one-click List-Unsubscribe header (RFC 8058). Recipients who use it get no more mail of the tenant."""
    on_unknown: Literal["keep", "resend"] = "keep"
    """If it is unknown whether the server accepted a message: leave it, or resend it with the same Message-ID."""
    local_time: Clock | None = None
    """Do not send before this time of day in the recipient's time zone, the first one after the job is due."""
    time_zone: Zone = "UTC"
    """The time zone of recipients that have none of their own."""
    quiet_hours: QuietHours | None = None
    expire_after_s: Annotated[int, Field(ge=1, le=30 * 86_400), WHOLE] | None = None
    """Seconds after the job is due. Recipients who have not been sent the message by then will not get it."""


class Recipient(BaseModel):
    """A recipient of a letter, with the template variables for this recipient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Address
    variables: dict[str, Any] = {}
    time_zone: Zone | None = None


class AddressedRecipient(BaseModel):
    """A recipient as parsed by the gateway: the mailbox is split into `name` and `address`."""

    address: str
    name: str = ""
    variables: dict[str, Any] = {}
    time_zone: str | None = None

    @classmethod
    def of(cls, recipient: Recipient) -> "AddressedRecipient":
        """Split the mailbox of `recipient`."""
        mailbox = parse_mailbox(recipient.to)
        return cls.model_construct(
            address=mailbox.address,
            name=mailbox.name,
            variables=recipient.variables,
            time_zone=recipient.time_zone,
        )

    @property
    def domain(self) -> str:
        """The part of the address after the @."""
        return self.address.rpartition("@")[2]


class AttachedFile(BaseModel):
    """An attachment of a letter, in the blob store under `key`."""

    key: str
    filename: str
    media_type: str
    content_id: str | None = None
    """For `<img src="cid:…">`: the file is shown inline, not as an attachment."""


class Part(BaseModel):
    """The recipients with numbers `first` to `last` of the letter with the job id `letter` (hex)."""

    letter: str
    first: int
    last: int


class Followed(BaseModel):
    """What a deadline follows, as it is now: `follows` is its name, `revision` grows with each change of it."""

    follows: str
    revision: int
    due_at: AwareDatetime | None
    variables: dict[str, Any]
    """For the templates of reminders."""
    is_gone: bool = False


class MailPayload(BaseModel):
    """The payload of a mail job: a letter, a part of the recipients of the parent's letter, or what has moved."""

    letter: Letter | None = None
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    """`to` and `cc` are shown in the headers. Both are empty if every recipient gets a separate message."""
    recipients: tuple[AddressedRecipient, ...] = ()
    """All recipients, including those in cc and bcc."""
    is_template: bool = False
    days_before: tuple[int, ...] = ()
    """Instead of `recipients`: the followers of deadlines that are at most this many days away."""
    deadlines: str = ""
    """With `days_before`: only the deadlines whose names begin with this."""
    attachments: tuple[AttachedFile, ...] = ()
    part: Part | None = None
    moved: tuple[Followed, ...] = ()
    """Instead of a letter, in a job of the kind `moved`: deadlines follow these."""


class StoredLetter(BaseModel):
    """A letter as the mailer stores it, once for all of its recipients."""

    letter: Letter
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    attachments: tuple[AttachedFile, ...] = ()
    is_template: bool = False


def clock(text: str) -> time:
    """Parse a `Clock`."""
    return time.fromisoformat(text)

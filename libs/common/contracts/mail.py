"""What the gateway and the mailer say to each other."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import time
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common.contracts.numbers import WHOLE

RECIPIENTS_AT_MOST = 10_000
LINE = r"^[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*$"
"""Text of one line: nothing that could end a header and begin another, in whosever opinion."""
ALLOWED_HEADERS = (
    r"^(X-[A-Za-z0-9-]{1,60}|In-Reply-To|References|Auto-Submitted|Precedence|Importance|Priority|Sensitivity"
    r"|Keywords|Comments|Organization|List-Id|List-Help|List-Post|List-Owner|List-Archive|Feedback-ID|Content-Language)$"
)
"""What callers may set beside the fields of their own: nothing that says whose mail it is, or how it is built."""


class Mailbox(NamedTuple):
    """A display name, which may be empty, and an address, its domain in ASCII."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """After the @."""
        return self.address.rpartition("@")[2]


@lru_cache(maxsize=2 * RECIPIENTS_AT_MOST)
def parse_mailbox(text: str) -> Mailbox:
    """`ada@example.com` or `Ada Lovelace <ada@example.com>`. Raises ValueError."""
    if not re.match(LINE, text) or len(text) > 500:
        raise ValueError("Not an address.")
    named = re.fullmatch(r'\s*"?([^<>"]*?)"?\s*<([^<>]+)>\s*', text)
    name, address = (named[1], named[2]) if named else ("", text.strip())
    try:
        found = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"Not an address: {error}") from error
    return Mailbox(name, f"{found.local_part}@{found.ascii_domain.lower()}")


def refuse_twice(addresses: Iterable[str]) -> None:
    """Raises ValueError if two of these mailboxes are one, whatever the case of its letters."""
    counts = Counter(parse_mailbox(address).address.lower() for address in addresses)
    twice = sorted(address for address, count in counts.items() if count > 1)
    if twice:
        raise ValueError(f"{len(twice)} addresses are there more than once, such as {twice[0]}.")


def _is_mailbox(text: str) -> str:
    parse_mailbox(text)
    return text


def _is_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("Not a time zone.")
    return name


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Those that mean the same everywhere."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


Address = Annotated[
    str, Field(min_length=3, max_length=500, json_schema_extra={"format": "mailbox"}), AfterValidator(_is_mailbox)
]
Zone = Annotated[str, Field(max_length=64, json_schema_extra={"format": "timezone"}), AfterValidator(_is_zone)]
Line = Annotated[str, Field(max_length=998, pattern=LINE)]
HeaderName = Annotated[str, Field(pattern=ALLOWED_HEADERS)]
TEMPLATE_NAME = "[a-z0-9][a-z0-9_-]{0,99}"
DEADLINE_NAME = "[A-Za-z0-9][A-Za-z0-9._:-]{0,199}"
TemplateReference = Annotated[str, Field(pattern=f"^{TEMPLATE_NAME}(@[1-9][0-9]{{0,6}})?$")]
Body = Annotated[str, Field(max_length=1_000_000)]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(BaseModel):
    """No mail between these times of the recipient's day; `begin` may be later than `end`: over midnight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: Clock
    end: Clock


class Letter(BaseModel):
    """What is sent, and how. In a letter to `recipients`, subject, text and html are templates (Jinja2)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    sender: Annotated[Address, Field(alias="from")]
    reply_to: Address | None = None
    subject: Line = ""
    text: Body | None = None
    html: Body | None = None
    """Styles in <style> are brought to the elements. Without `text`, the text is made from this."""
    template: TemplateReference | None = None
    """One that is kept, in place of subject, text and html; the last version, or `name@3`."""
    headers: Annotated[
        dict[HeaderName, Line], Field(max_length=20, json_schema_extra={"additionalProperties": False})
    ] = {}
    unsubscribe: bool = False
    """Whether there is a List-Unsubscribe for one click (RFC 8058). Who clicks gets no more mail of the tenant."""
    on_unknown: Literal["keep", "resend"] = "keep"
    """Where it cannot be known whether the server took a message: leave it, or send it again under its id."""
    local_time: Clock | None = None
    """Not before it is this late where the recipient is, the next time after the job is due."""
    time_zone: Zone = "UTC"
    """Of recipients that name none."""
    quiet_hours: QuietHours | None = None
    expire_after_s: Annotated[int, Field(ge=1, le=30 * 86_400), WHOLE] | None = None
    """Seconds after the job is due; whoever has not been reached by then is not written to any more."""


class Recipient(BaseModel):
    """Who gets a letter, and the variables of its templates for this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Address
    variables: dict[str, Any] = {}
    time_zone: Zone | None = None


class AddressedRecipient(BaseModel):
    """A recipient as the gateway has read them: `name` and `address` of their mailbox."""

    address: str
    name: str = ""
    variables: dict[str, Any] = {}
    time_zone: str | None = None

    @classmethod
    def of(cls, recipient: Recipient) -> "AddressedRecipient":
        """The same, taken apart."""
        mailbox = parse_mailbox(recipient.to)
        return cls.model_construct(
            address=mailbox.address,
            name=mailbox.name,
            variables=recipient.variables,
            time_zone=recipient.time_zone,
        )

    @property
    def domain(self) -> str:
        """After the @."""
        return self.address.rpartition("@")[2]


class AttachedFile(BaseModel):
    """A file that goes with a letter, in the blob store under `key`."""

    key: str
    filename: str
    media_type: str
    content_id: str | None = None
    """For `<img src="cid:…">`: it is shown in the text, not beside it."""


class Part(BaseModel):
    """Recipients `first` to `last` of the letter of job `letter`."""

    letter: str
    first: int
    last: int


class MailPayload(BaseModel):
    """A mail job: a letter to some, or a part of those of its parent."""

    letter: Letter | None = None
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    """As they are shown; in a letter to everybody's own address, nobody."""
    recipients: tuple[AddressedRecipient, ...] = ()
    """All of them, those in copy and blind copy too."""
    is_template: bool = False
    days_before: tuple[int, ...] = ()
    """In place of recipients: those who are to be reminded of a deadline that is so many days away."""
    deadlines: str = ""
    """What their names begin with."""
    attachments: tuple[AttachedFile, ...] = ()
    part: Part | None = None


class StoredLetter(BaseModel):
    """A letter as the mailer keeps it, for all its recipients."""

    letter: Letter
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    attachments: tuple[AttachedFile, ...] = ()
    is_template: bool = False


def clock(text: str) -> time:
    """Of a `Clock`."""
    return time.fromisoformat(text)

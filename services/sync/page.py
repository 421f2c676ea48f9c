"""What reading a page of a source yields: the border between fetching (fetching.py) and writing (writing.py).

The sandbox reads and maps; it writes a file with one `Line` of JSON for each record. Nothing else of a source's
answer reaches the worker's own process.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from libs.common.contracts.sync import SourceSpec

Position = dict[str, Any]
"""Where the next page begins, as JSON. Only paging.py knows what is in it. `{}` is the first page."""


class Record(BaseModel):
    """An opportunity as a source tells it, mapped, cleaned and within all limits."""

    model_config = ConfigDict(extra="forbid")

    key: str
    title: str
    summary: str = ""
    url: str | None = None
    agency: str | None = None
    opens_at: AwareDatetime | None = None
    closes_at: AwareDatetime | None = None
    closes_on: str | None = None
    """The day in the source's zone, as YYYY-MM-DD, where the source gave a date without a time."""
    status_said: str | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None
    currency: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    raw: Any
    """The record as it was received."""
    changed: str | None = None
    """The value of the source's `incremental.field`."""


class Refused(BaseModel):
    """A record that does not pass."""

    model_config = ConfigDict(extra="forbid")

    reason: str
    field: str | None = None
    key: str | None = None
    raw: Any


class Line(BaseModel):
    """One line of a page's file: exactly one of the two."""

    record: Record | None = None
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave to be sent back, verbatim, with the next request of the same address."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One page of a source to fetch."""

    tenant: str
    spec: SourceSpec
    headers: dict[str, str] = field(repr=False)
    position: Position
    validators: dict[str, Validators]
    """By address. Empty: ask without conditions."""
    bookmark: str | None
    """Ask for what has changed since; None: for everything."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that has been read."""

    url: str
    lines: Path
    """JSON lines, a `Line` each. The caller removes it."""
    next: Position | None
    """None: this was the last page."""
    validators: Validators
    """To be kept for `url` when the run ends well."""
    fresh_until: datetime | None
    """The source asked not to be fetched before (max-age, ttl, skipHours), at most 14 days from now."""
    moved_to: str | None
    """Where a permanent redirect of the first page led."""
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """The server says that the first page is as it was."""

    url: str
    fresh_until: datetime | None
    validators: Validators
    """To be kept for `url`: those that were sent, and what the answer has in place of them."""


class Pages(Protocol):
    """Where pages come from."""

    async def fetch(self, ask: Ask) -> Page | NotModified:
        """Ask for one page, and read it. Raises Wait, and what is wrong with the source or its answer."""

    async def map_anew(self, spec: SourceSpec, kept: Path) -> Path:
        """Map records as they were received, a line of JSON each, to a file as that of a page, line by line."""

"""The data exchanged between the gateway and the sync worker.

A job's `kind` is the `kind` of its payload: run, preview, remap, replay, search, housekeeping.

RPC, as `call(bus, "sync", name, tenant, request)`:

put_source        SourceChange → SourceAnswer, or {"mistakes": [{"field", "message"}…]}
get_source        {"name"} → SourceAnswer
list_sources      {"after": name or None, "limit"} → {"sources": [SourceAnswer…], "next_after": name or None}
delete_source     {"name"} → {}
list_rejected     {"source": name, "after": number or None, "limit"}
                  → {"rejected": [RejectedRecord…], "next_after": number or None}

Errors of RPC are `not_found`, `source_busy` (delete_source) and `too_many_sources` (put_source).
"""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, model_validator

from libs.common.contracts.moments import Told
from libs.common.contracts.time_zones import Zone
from libs.common.contracts.whole_numbers import WHOLE

SOURCES_AT_MOST = 500
"""Of one tenant."""
HEADERS_AT_MOST = 20
HEADER_BYTES_AT_MOST = 4 * 1024
BODY_BYTES_AT_MOST = 50_000_000
"""Of one answer of a source, as it comes over the wire."""
UNPACKED_BYTES_AT_MOST = 200_000_000
PAGES_AT_MOST = 10_000
"""In one run."""
RECORDS_AT_MOST = 1_000_000
"""In one run."""
RECORD_BYTES_AT_MOST = 64 * 1024
"""Of one record as it was received, written as JSON."""
KEY_BYTES_AT_MOST = 512
TITLE_AT_MOST = 1_000
SUMMARY_AT_MOST = 20_000
SOURCE_NAME = r"[a-z0-9][a-z0-9._-]{0,99}"

SourceName = Annotated[str, Field(pattern=f"^{SOURCE_NAME}$")]
Expression = Annotated[
    str, StringConstraints(min_length=1, max_length=1_000), Field(json_schema_extra={"format": "jmespath"})
]
"""JMESPath."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Format(StrEnum):
    """What a source answers with."""

    FEED = "feed"
    """RSS, Atom, RDF or JSON Feed."""
    JSON = "json"
    CSV = "csv"
    ICS = "ics"
    JSONLD = "jsonld"
    """JobPosting in pages for people."""


class Place(StrEnum):
    """Where a parameter goes in the request."""

    QUERY = "query"
    BODY = "body"


class NoPaging(_Closed):
    """All records are in one answer."""

    kind: Literal["none"]


class _Numbered(_Closed):
    place: Annotated[Place, Field(alias="in")] = Place.QUERY
    parameter: Annotated[str, Field(min_length=1, max_length=100)]
    size: tuple[Annotated[str, Field(min_length=1, max_length=100)], Annotated[int, Field(ge=1, le=1_000), WHOLE]]
    """The name and the value of the parameter that says how many records a page has."""


class OffsetPaging(_Numbered):
    """The parameter says how many records to leave out. A page with fewer than `size` is the last one."""

    kind: Literal["offset"]


class PageNumberPaging(_Numbered):
    """The parameter is the number of the page. A page with fewer than `size` is the last one."""

    kind: Literal["page"]
    first: Annotated[int, Field(ge=0, le=1), WHOLE] = 1


class CursorPaging(_Closed):
    """Each page says what to ask for next; none, null or an empty text is the last one."""

    kind: Literal["cursor"]
    place: Annotated[Place, Field(alias="in")] = Place.QUERY
    parameter: Annotated[str, Field(min_length=1, max_length=100)]
    cursor: Expression


class JsonLinkPaging(_Closed):
    """Each page names the address of the next one."""

    kind: Literal["json_link"]
    link: Expression


class LinkHeaderPaging(_Closed):
    """The header Link of each page names the next one with rel=next, as in RFC 8288."""

    kind: Literal["link_header"]


Paging = Annotated[
    NoPaging | OffsetPaging | PageNumberPaging | CursorPaging | JsonLinkPaging | LinkHeaderPaging,
    Field(discriminator="kind"),
]


class Incremental(_Closed):
    """Ask only for what has changed since the newest record of the run before."""

    parameter: Annotated[str, Field(min_length=1, max_length=100)]
    place: Annotated[Place, Field(alias="in")] = Place.QUERY
    field: Expression
    """Of a record: when it was changed."""
    overlap_s: Annotated[int, Field(ge=0, le=30 * 86_400), WHOLE] = 300
    """Ask for so much more, in seconds, because records appear late."""
    full_every_days: Annotated[int, Field(ge=1, le=365), WHOLE] = 7
    """Ask for all of them so often: only then it is seen what has gone."""


class RecordMapping(_Closed):
    """Where the fields of an opportunity are in a record, each as JMESPath.

    For `feed`, `ics` and `jsonld` every field has a default: docs/sync.md has the records of these formats.
    """

    records: Expression | None = None
    """Of the whole answer: the list of records. Without it the answer itself is the list."""
    fields: Expression | None = None
    """Of the whole answer: the names of the columns, where records are lists of values and not objects."""
    key: Expression | None = None
    title: Expression | None = None
    summary: Expression | None = None
    url: Expression | None = None
    agency: Expression | None = None
    opens_at: Expression | None = None
    closes_at: Expression | None = None
    status: Expression | None = None
    amount_min: Expression | None = None
    amount_max: Expression | None = None
    currency: Expression | None = None
    extra: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Expression], Field(max_length=50)
    ] = {}


class SourceSpec(_Closed):
    """Where opportunities come from, and how they are read. Header values are not part of it."""

    url: Annotated[str, Field(max_length=2_000, json_schema_extra={"format": "source-url"})]
    format: Format
    method: Literal["GET", "POST"] = "GET"
    body: dict[str, Any] | None = None
    """Sent as JSON with POST."""
    language: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$", json_schema_extra={"format": "language"})] = "simple"
    """A text search configuration of PostgreSQL, such as `english`."""
    time_zone: Zone = "UTC"
    """Of dates and times that name none. A date without a time closes at 23:59:59 of that day."""
    min_interval_s: Annotated[int, Field(ge=1, le=30 * 86_400), WHOLE] = 3_600
    """A run does nothing if the last one that fetched anything began less than this many seconds ago."""
    complete: bool = False
    """A run without `incremental` reads everything there is: what it does not find has gone."""
    max_gone_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    """If more than this share would be gone (and more than ten), nothing is, and the run fails."""
    paging: Paging = NoPaging(kind="none")
    incremental: Incremental | None = None
    mapping: RecordMapping = RecordMapping()


Headers = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")],
        Annotated[str, Field(max_length=HEADER_BYTES_AT_MOST, pattern=r"^[\t\x20-\x7e]*$")],
    ],
    Field(max_length=HEADERS_AT_MOST, json_schema_extra={"additionalProperties": False}),
]
"""Sent to the source's own origin only. Their values are kept encrypted, and never shown again."""


class RunPayload(_Closed):
    """The payload of a job `run`: fetch a source and write what is new, changed, gone. Result: RunResult."""

    kind: Literal["run"] = "run"
    source: UUID
    full: bool = False
    """Ask for everything, also of an incremental source, and whether or not it says that nothing has changed."""
    accept_shrink: bool = False
    """Let more be gone than `max_gone_ratio` allows."""


class RunResult(BaseModel):
    """The result of a job `run`. Each record is counted once, whatever was killed or repeated meanwhile."""

    pages: int = 0
    records: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    returned: int = 0
    """They had gone, and are there again."""
    gone: int = 0
    repeated: int = 0
    """Records whose key came again on the same page; the last one counts."""
    rejected: int = 0
    not_modified: bool = False
    """The source said that nothing has changed."""
    skipped: str | None = None
    """Why nothing was fetched: `too_early`, or `stopped` where the source is gone for good (410)."""


class PreviewPayload(_Closed):
    """The payload of a job `preview`: read the first page of a source, write nothing."""

    kind: Literal["preview"] = "preview"
    source: UUID


class RemapPayload(_Closed):
    """The payload of a job `remap`: map what is kept anew, after a change of the mapping; nothing is fetched."""

    kind: Literal["remap"] = "remap"
    source: UUID


class ReplayPayload(_Closed):
    """The payload of a job `replay`: map the rejected records of a source anew."""

    kind: Literal["replay"] = "replay"
    source: UUID


class SearchPayload(_Closed):
    """The payload of a job `search`: write a letter of what is new to a saved search (searches.py)."""

    kind: Literal["search"] = "search"
    search: UUID


class HousekeepingPayload(_Closed):
    """The payload of the job `housekeeping`, which the fleet's schedule makes every night."""

    kind: Literal["housekeeping"] = "housekeeping"


class SyncPayload(
    RootModel[
        Annotated[
            RunPayload | PreviewPayload | RemapPayload | ReplayPayload | SearchPayload | HousekeepingPayload,
            Field(discriminator="kind"),
        ]
    ]
):
    """The payload of any job of the queue `sync`."""

    @model_validator(mode="before")
    @classmethod
    def _the_fleets_own_has_none(cls, payload: Any) -> Any:
        """A job of a fleet schedule has an empty payload, and the only such job is housekeeping."""
        return payload or {"kind": "housekeeping"}


class SourceChange(_Closed):
    """A source as it is put. `headers` None: those it has stay."""

    name: SourceName
    spec: SourceSpec
    headers: Headers | None = None


class SourceAnswer(BaseModel):
    """A source as it is shown."""

    id: UUID
    name: str
    spec: SourceSpec
    header_names: list[str]
    """Their values are never shown."""
    paused: str | None
    """Why it is not fetched any more, until it is put again."""
    failures: int
    """Attempts in a row that failed. After ten the source is paused."""
    fetched_at: Told | None
    succeeded_at: Told | None
    not_before: Told | None
    """A run that comes earlier waits if that is within the hour, or else does nothing."""
    moved_to: str | None
    """Where its address has moved for good. It is taken over when three runs in a row were led there."""
    remap: bool
    """What is kept has yet to be mapped anew."""


class RejectedRecord(BaseModel):
    """A record that did not pass."""

    number: int
    key: str | None
    reason: str
    field: str | None
    raw: Any
    at: Told

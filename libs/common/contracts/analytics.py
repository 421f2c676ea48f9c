"""The data exchanged between the gateway and the analytics worker.

A job's `kind` is the `kind` of its payload: events, replay, report, erase, rebuild, housekeeping.

RPC, as `call(bus, "analytics", name, tenant, request)`:

query          Query → QueryAnswer
put_type       EventTypeChange → EventTypeAnswer
get_type       {"name"} → EventTypeAnswer; raises `not_found`
list_types     {"after": name or None, "limit"} → {"types": [EventTypeAnswer…], "next_after": name or None}
list_rejected  {"after": number or None, "limit", "reason": a Reason or None}
               → {"rejected": [RejectedEvent…], "next_after": number or None, "not_kept": number}

`not_kept`: how many were counted as rejected in 30 days, but are not kept to be listed.
Errors of RPC are `not_found`, `schema_invalid` (put_type) and `too_many_rows` (query).
"""

from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel, model_validator

from libs.common.contracts.moments import Told
from libs.common.contracts.time_zones import Zone
from libs.common.contracts.whole_numbers import WHOLE

EVENTS_AT_MOST = 1_000
"""In one job."""
ID_AT_MOST = 128
SUBJECT_AT_MOST = 200
PROPERTIES_BYTES_AT_MOST = 8 * 1024
PROPERTIES_AT_MOST = 100
DIMENSIONS_AT_MOST = 5
VALUES_A_DAY = 1_000
"""Values of a dimension that are told apart on one UTC day; the rest is counted together."""
POINTS_AT_MOST = 10_000
"""In one answer: buckets times series."""
STEPS_AT_MOST = 10
EVENT_NAME = r"[a-z][a-z0-9_.:-]{0,99}"

EventName = Annotated[str, Field(pattern=f"^{EVENT_NAME}$")]
PropertyName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*$")]
Subject = Annotated[str, Field(min_length=1, max_length=SUBJECT_AT_MOST)]
Moment = AwareDatetime | date
"""With an offset, or a day, which is its midnight in the query's time zone."""


class Reason(StrEnum):
    """Why an event does not count."""

    NOT_AN_OBJECT = "not_an_object"
    NO_ID = "no_id"
    ID_TOO_LONG = "id_too_long"
    BAD_NAME = "bad_name"
    BAD_TIME = "bad_time"
    NO_TIME = "no_time"
    """It has no time, and its id is not a UUIDv7, which would have one."""
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    BAD_SUBJECT = "bad_subject"
    BAD_PROPERTIES = "bad_properties"
    PROPERTIES_TOO_LARGE = "properties_too_large"
    NOT_FINITE = "not_finite"
    SCHEMA_VIOLATED = "schema_violated"
    ERASED = "erased"
    """Its subject has been erased. Such an event is counted, and not kept."""


class EventsPayload(BaseModel):
    """The payload of a job `events`: up to EVENTS_AT_MOST events of any shape; the worker checks each of them.

    An event is `{"id", "name", "time", "subject", "properties"}`, the last three optional. Without `time` it has
    the time of its id, a UUIDv7. CloudEvents are given in this shape too: `source/id` is the id, `type` the name,
    `data` the properties. The ledger stores neither NUL nor half characters: the gateway removes them before.
    """

    kind: Literal["events"] = "events"
    received_at: AwareDatetime
    """When the first of the requests that it consists of was received."""
    events: Annotated[list[Any], Field(min_length=1, max_length=EVENTS_AT_MOST)]


class EventsResult(BaseModel):
    """The result of a job `events` or `replay`.

    counted + duplicates + rejected is the number of events. `conflicts` of the duplicates have another content
    than the one that counts. `late` of those counted had a time more than an hour before they were received.
    """

    counted: int = 0
    duplicates: int = 0
    rejected: int = 0
    conflicts: int = 0
    late: int = 0
    reasons: dict[str, int] = {}
    """How many were rejected, by Reason."""


class ReplayPayload(BaseModel):
    """The payload of a job `replay`: count the rejected events that are fine by now. Result: EventsResult.

    Those that are still rejected stay, with their new reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["replay"] = "replay"
    reason: Reason | None = None
    """Only those rejected for this reason."""


class _Range(BaseModel):
    """From `from` up to, and without, `to`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    begin: Annotated[Moment, Field(alias="from")]
    end: Annotated[Moment, Field(alias="to")]
    time_zone: Zone = "UTC"

    @property
    def begins_at(self) -> datetime:
        """`from` as a moment, in the time zone."""
        return self._moment(self.begin)

    @property
    def ends_at(self) -> datetime:
        """`to` as a moment, in the time zone."""
        return self._moment(self.end)

    def _moment(self, given: datetime | date) -> datetime:
        zone = ZoneInfo(self.time_zone)
        if isinstance(given, datetime):
            return given.astimezone(zone)
        return datetime.combine(given, time(), zone)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not 1970 <= self.begin.year <= self.end.year <= 9000:
            raise ValueError("from and to must lie between the years 1970 and 9000, in this order.")
        if self.begins_at.astimezone(UTC) >= self.ends_at.astimezone(UTC):
            raise ValueError("from must be before to.")
        return self


Bucket = Literal["hour", "day", "week", "month", "total"]
_SHORTEST_S = {"hour": 3600, "day": 23 * 3600, "week": 167 * 3600, "month": 27 * 86_400, "total": None}


class Query(_Range):
    """The request of `query`. The range is widened to whole buckets, that of `total` to whole hours.

    `count` counts events, `sum` adds the property that the event type names as its value, `uniques` counts
    different subjects. `breakdown` is a dimension of the event type; not with `uniques`.
    """

    measure: Literal["count", "sum", "uniques"] = "count"
    event: EventName
    by: Bucket = "day"
    breakdown: PropertyName | None = None
    top: Annotated[int, Field(ge=1, le=100), WHOLE] = 10
    """With `breakdown`: how many values have a series of their own."""

    @model_validator(mode="after")
    def _is_answerable(self) -> Self:
        if self.breakdown is not None and self.measure == "uniques":
            raise ValueError("Uniques cannot be broken down.")
        shortest_s = _SHORTEST_S[self.by]
        seconds = (self.ends_at - self.begins_at).total_seconds()
        buckets = 1 if shortest_s is None else seconds / shortest_s + 1
        if buckets * (1 if self.breakdown is None else self.top) > POINTS_AT_MOST:
            raise ValueError(f"The answer would have more than {POINTS_AT_MOST} points.")
        return self


Point = tuple[str, int | float]
"""The begin of a bucket in the time zone, and the number: a date, or with by=hour a time with its offset."""


class Series(BaseModel):
    """`value`: of the dimension; None without breakdown, `""` for events that have none."""

    value: str | None
    points: list[Point]


class QueryAnswer(BaseModel):
    """The answer of `query`. Buckets without events have the number 0."""

    series: list[Series]
    other: int | float | None = None
    """With breakdown: the number for all values without a series."""
    exact: bool
    error: float | None = None
    """If not exact: the standard error, as a share of the number; None if it is not known."""
    as_of: Told


class EventTypeChange(BaseModel):
    """The request of `put_type`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: EventName
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """JSON Schema (2020-12) of `properties`."""
    dimensions: Annotated[tuple[PropertyName, ...], Field(max_length=DIMENSIONS_AT_MOST)] = ()
    """Properties to break down by."""
    value: PropertyName | None = None
    """The property to add up."""


class EventTypeAnswer(BaseModel):
    """An event type. Until `rebuilt`, earlier days are counted by the dimensions of an earlier version.

    After a `put_type` whose answer has `rebuilt` false, the gateway submits a job `rebuild` for the type, with
    unique_for `rebuild:<name>:<version>`. If it cannot, the nightly housekeeping rebuilds.
    """

    model_config = ConfigDict(populate_by_name=True)

    name: str
    version: int
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")]
    dimensions: list[str]
    value: str | None
    rebuilt: bool
    created_at: Told


class RejectedEvent(BaseModel):
    """An event that did not count. `job` is the public id of the job that it came with."""

    number: int
    job: str
    reason: Reason
    detail: str | None
    event: Any
    at: Told


class Funnel(_Range):
    """How many subjects did the first step, then the second, and so on, within `within_s` of the first.

    Result: `{"entered": 49999, "steps": [49999, 39156, 14315]}`. Events without subject do not take part.
    """

    report: Literal["funnel"]
    steps: Annotated[tuple[EventName, ...], Field(min_length=2, max_length=STEPS_AT_MOST)]
    within_s: Annotated[int, Field(ge=1, le=400 * 86_400), WHOLE]
    csv: bool = False
    """Also as an artifact report.csv."""


class Retention(_Range):
    """Of the subjects whose first event `start` in the range was in a period: how many did `back` in those after.

    Result: `{"cohorts": [{"period": "2026-11-23", "subjects": 812, "returned": [812, 320, …]}, …]}`; the first
    number is that of the period itself.
    """

    report: Literal["retention"]
    start: EventName
    back: EventName
    by: Literal["day", "week", "month"] = "week"
    csv: bool = False

    @model_validator(mode="after")
    def _is_answerable(self) -> Self:
        periods = (self.ends_at - self.begins_at).total_seconds() / (_SHORTEST_S[self.by] or 1) + 1
        if periods * (periods + 1) / 2 > POINTS_AT_MOST:
            raise ValueError(f"The answer would have more than {POINTS_AT_MOST} points.")
        return self


class Report(RootModel[Annotated[Funnel | Retention, Field(discriminator="report")]]):
    """What POST /v1/analytics/reports takes, beside the fields of a job."""


class ReportPayload(BaseModel):
    """The payload of a job `report`. It fails with `too_slow` after 60 s."""

    kind: Literal["report"] = "report"
    request: Annotated[Funnel | Retention, Field(discriminator="report")]


class ErasePayload(BaseModel):
    """The payload of a job `erase`; the ledger forgets it when the job has succeeded.

    Result: `{"erased": <events>, "rejected": <rejected events>}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["erase"] = "erase"
    subject: Subject
    rebuild: bool = False
    """Also count the days anew, so that the subject's events are no longer in any number."""


class RebuildPayload(BaseModel):
    """The payload of a job `rebuild`: count anew from the events that are kept.

    Result: `{"days": 30, "drift": 0}`. `drift`: by how much counts were wrong that should have been right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rebuild"] = "rebuild"
    event: EventName | None = None
    """Only this event; None: all."""


class HousekeepingPayload(BaseModel):
    """The payload of the nightly job of the fleet: partitions, old rejected events, the check for drift."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["housekeeping"] = "housekeeping"


class AnalyticsPayload(
    RootModel[
        Annotated[
            EventsPayload | ReplayPayload | ReportPayload | ErasePayload | RebuildPayload | HousekeepingPayload,
            Field(discriminator="kind"),
        ]
    ]
):
    """The payload of any analytics job."""

    @model_validator(mode="before")
    @classmethod
    def _the_fleets_own_has_none(cls, payload: Any) -> Any:
        """A job of a fleet schedule has an empty payload, and the only such job is housekeeping."""
        return payload or {"kind": "housekeeping"}

"""What each service publishes for exports: datasets, their columns, and how their rows may be selected.

The columns granted to the exporter in PostgreSQL are those named here, and no others; the test of this module
compares the two, and lists every table of the fleet that is not published, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from libs.common.contracts.opportunities import STATUS


class Kind(StrEnum):
    """What the values of a column are. docs/exports.md says what becomes of each in each format."""

    TEXT = "text"
    ID = "id"
    """A UUID that callers know with a prefix, such as `job_…`."""
    INTEGER = "integer"
    NUMBER = "number"
    TIME = "time"
    DATE = "date"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """A published column: its `name` in files, and its `source`, the column of the table."""

    name: str
    kind: Kind
    source: str
    prefix: str = ""
    """Of an ID: what callers see before the digits."""
    filtered: bool = False
    """Whether rows may be selected by it."""
    computed: str | None = None
    """An expression of several columns of the table that is its value, instead of `source`."""

    @property
    def filters(self) -> tuple[str, ...]:
        """The names of its filters: a list of values; of a time, `…_after` (from then on) and `…_before`."""
        if not self.filtered:
            return ()
        if self.kind in (Kind.TIME, Kind.DATE):
            stem = self.name.removesuffix("_at").removesuffix("_on")
            return f"{stem}_after", f"{stem}_before"
        return (self.name,)

    @property
    def sql(self) -> str:
        """The value, as an expression of the source."""
        if self.kind is Kind.ID:
            return f"'{self.prefix}_' || replace({self.source}::text, '-', '')"
        return self.computed or self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows of one table that a tenant may export."""

    name: str
    scope: str
    """What the caller needs: the scope with which the same rows are listed."""
    table: str
    columns: tuple[Column, ...]
    rows: str = "true"
    """Which rows of the table belong to it, in SQL."""
    rows_unless: tuple[tuple[str, str], ...] = ()
    """Names of filters, and which rows belong to it, in SQL, unless they are selected by that filter."""
    subject: str | None = None
    """The person whom a row names, in SQL; None: nobody."""
    subject_ignores_case: bool = True
    """Whether the person is an address, in which case does not matter."""
    changed_by: str | None = None
    """The column with the transaction that wrote a row last, by which `since` selects; None: it has no `since`."""
    needs: tuple[str, ...] = ()
    """Columns that the conditions above use, and that are not published."""

    @property
    def sources(self) -> frozenset[str]:
        """The columns of the table that the exporter may read."""
        used = {column.source for column in self.columns} | {*self.needs}
        return frozenset(used if self.changed_by is None else used | {self.changed_by})

    @property
    def filters(self) -> dict[str, Column]:
        """The column of each filter."""
        return {name: column for column in self.columns for name in column.filters}

    def column(self, name: str) -> Column:
        """The column `name`. Raises StopIteration."""
        return next(column for column in self.columns if column.name == name)


def _text(name: str, source: str | None = None, *, filtered: bool = False) -> Column:
    return Column(name, Kind.TEXT, source or name, filtered=filtered)


def _choice(name: str, source: str | None = None) -> Column:
    return _text(name, source, filtered=True)


def _id(name: str, source: str | None = None, *, prefix: str = "job", filtered: bool = False) -> Column:
    return Column(name, Kind.ID, source or name, prefix, filtered)


def _integer(name: str) -> Column:
    return Column(name, Kind.INTEGER, name)


def _number(name: str) -> Column:
    return Column(name, Kind.NUMBER, name)


def _time(name: str, source: str | None = None) -> Column:
    return Column(name, Kind.TIME, source or name, filtered=True)


def _json(name: str) -> Column:
    return Column(name, Kind.JSON, name)


JOBS = Dataset(
    name="jobs",
    scope="jobs:read",
    table="ledger.jobs",
    rows="parent IS NULL",
    rows_unless=(("queue", "queue <> 'analytics'"),),  # as in lists: see QUEUES_UNLISTED
    needs=("parent",),
    columns=(
        *(
            _id("id"),
            _choice("queue"),
            _choice("kind"),
            _choice("state"),
            _choice("priority"),
            _text("created_by"),
        ),
        *(_time("created_at"), _time("due_at"), _time("started_at"), _time("finished_at")),
        *(_integer("attempt"), _integer("failures"), _integer("max_attempts"), _integer("bytes")),
        *(_json("tags"), _json("result"), _id("schedule", prefix="schedule", filtered=True)),
    ),
)
RECIPIENTS = Dataset(
    name="recipients",
    scope="mail:read",
    table="mail.recipients",
    subject="address",
    columns=(
        *(_id("letter", filtered=True), _integer("number"), _text("address"), _text("name"), _text("time_zone")),
        *(_choice("state"), _integer("tries"), _integer("code"), _text("enhanced"), _text("reply")),
        *(_time("due_at"), _time("updated_at"), _time("sent_at")),
    ),
)
SUPPRESSIONS = Dataset(
    name="suppressions",
    scope="mail:read",
    table="mail.suppressions",
    subject="address",
    columns=(
        *(_text("address"), _choice("reason"), _id("letter", filtered=True)),
        *(_time("created_at"), _time("expires_at")),
    ),
)
DEADLINES = Dataset(
    name="deadlines",
    scope="mail:read",
    table="mail.deadlines",
    columns=(_choice("name"), _time("due_at"), _json("variables"), _time("updated_at")),
)
FOLLOWERS = Dataset(
    name="followers",
    scope="mail:read",
    table="mail.followers",
    subject="address",
    columns=(_choice("deadline"), _text("address"), _text("name"), _text("time_zone"), _time("reminded_of")),
)
SEARCH_RECIPIENTS = Dataset(
    name="search_recipients",
    scope="sync:read",
    table="sync.search_recipients",
    subject="address",
    columns=(_choice("search"), _text("address"), _text("name"), _text("time_zone")),
)
DOCUMENTS = Dataset(
    name="documents",
    scope="jobs:read",
    table="ocr.documents",
    columns=(
        *(_id("job", "job_id", filtered=True), _integer("pages"), _integer("pages_recognised")),
        *(_number("mean_confidence"), _time("finished_at")),
    ),
)
EVENTS = Dataset(
    name="events",
    scope="events:read",
    table="analytics.events",
    subject="subject",
    subject_ignores_case=False,
    columns=(
        *(_text("id"), _choice("name"), _time("time", "at"), _choice("subject"), _json("properties")),
        _time("received_at"),
    ),
)
REJECTED_EVENTS = Dataset(
    name="rejected_events",
    scope="events:read",
    table="analytics.rejected",
    subject="event ->> 'subject'",
    subject_ignores_case=False,
    columns=(
        *(_integer("number"), _id("job", filtered=True), _choice("reason"), _text("detail"), _json("event")),
        _time("received_at", "at"),
    ),
)
ROLLUPS = Dataset(
    name="rollups",
    scope="events:read",
    table="analytics.rollups",
    columns=(
        *(_choice("name"), _choice("dimension", "dim"), _time("hour"), _text("value")),
        *(_integer("count"), _number("sum")),
    ),
)
OPPORTUNITIES = Dataset(
    name="opportunities",
    scope="sync:read",
    table="sync.opportunities",
    changed_by="changed_by",
    columns=(
        *(
            _id("id", prefix="opp"),
            Column("status", Kind.TEXT, "status_said", filtered=True, computed=STATUS.format(o="")),
        ),
        *(_text("key"), _text("title"), _text("summary"), _text("url"), _choice("agency")),
        *(_time("opens_at"), _time("closes_at"), Column("closes_on", Kind.DATE, "closes_on")),
        *(_number("amount_min"), _number("amount_max"), _text("currency"), _json("extra"), _integer("revision")),
        *(_time("created_at"), _time("changed_at"), _time("gone_at")),
    ),
)
OPPORTUNITY_CHANGES = Dataset(
    name="opportunity_changes",
    scope="sync:read",
    table="sync.changes",
    changed_by="changed_by",
    columns=(
        *(_id("opportunity", prefix="opp", filtered=True), _time("changed_at", "at"), _choice("what")),
        _json("fields"),
    ),
)
DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *(OPPORTUNITIES, OPPORTUNITY_CHANGES, SEARCH_RECIPIENTS),
        *(JOBS, RECIPIENTS, SUPPRESSIONS, DEADLINES, FOLLOWERS, DOCUMENTS, EVENTS, REJECTED_EVENTS, ROLLUPS),
    )
}
"""All that is published, by name."""
SUBJECT_COLUMNS = (Column("dataset", Kind.TEXT, "dataset"), Column("row", Kind.JSON, "row"))
"""The columns of the file with every row that names a person, of whatever dataset."""
SUBJECT = "subject"
"""The name under which that file is asked for."""
UNPUBLISHED: Mapping[str, str] = {
    "alembic_version": "it says nothing of a tenant",
    "analytics.erased": "keyed hashes of people who asked to be forgotten",
    "analytics.labels": "derived from events, for counting only",
    "analytics.runs": "how far jobs of the worker have come",
    "analytics.tallies": "counts of what was received, kept for one limit",
    "analytics.types": "settings; GET /v1/event-types shows them",
    "analytics.uniques": "sketches, which nobody else can read",
    "export.files": "the manifest of each file says the same",
    "identity.accounts": "hashes of passwords",
    "identity.keys": "hashes of keys",
    "identity.limits": "settings; GET /v1/limits shows them",
    "identity.tenants": "it belongs to the operator",
    "ledger.entries": "the accounting of the whole fleet",
    "ledger.idempotency": "which requests have come, to know those that come again",
    "ledger.queues": "it belongs to the operator",
    "ledger.replays": "GET /v1/replays/{id} shows them while they matter",
    "ledger.schedules": "settings with payloads; GET /v1/schedules shows them",
    "ledger.trash": "folders to remove",
    "ledger.uploads": "uploads on their way",
    "ledger.workers": "it belongs to the operator",
    "mail.letters": "contents of letters, which may hold passwords and links; recipients are published",
    "mail.templates": "settings; GET /v1/templates shows them",
    "sync.feed": "says whether the feed of changes is still that of this server",
    "sync.hosts": "what all tenants' sources have in common",
    "sync.rejected": "kept for some days; GET /v1/sources/{name}/rejected shows them",
    "sync.runs": "the results of jobs say the same",
    "sync.searches": "settings; GET /v1/searches shows them, and their recipients are published",
    "sync.seen": "gone with its run",
    "sync.sources": "settings with secrets; GET /v1/sources shows them without",
    "ocr.readings": "a cache, by digests of pixels",
}
"""The tables of the fleet that are not published, and why."""

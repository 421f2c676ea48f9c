"""The documents this API answers with: their types here, their schemas in /openapi.json."""

from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict

from libs.common.ledger.jobs import Priority, State
from services.gateway.identity.scopes import Role, Scope


class Progress(TypedDict):
    """How far the running attempt has come; while a job waits for its children, how far they have."""

    done: int
    total: int | None
    note: str | None
    seconds_left: int | None


class Artifact(TypedDict):
    """A file that a job made."""

    name: str
    media_type: str
    size: int
    sha256: str
    url: str


class JobError(TypedDict):
    """Why the last attempt failed."""

    code: str | None
    message: str | None
    retryable: bool | None


class Job(TypedDict):
    """A job."""

    id: str
    queue: str
    kind: str
    state: State
    priority: Priority
    attempt: int
    failures: int
    max_attempts: int
    progress: Progress
    parent: str | None
    children: int
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    result: dict[str, Any] | None
    artifacts: list[Artifact]
    error: JobError | None
    tags: list[str]
    traceparent: str | None
    schedule: str | None
    replay: str | None


class JobFailure(TypedDict, total=False):
    """One attempt that failed; `traceback` is for admins."""

    at: datetime
    attempt: int
    code: str
    type: str | None
    message: str
    retryable: bool | None
    traceback: str | None


class JobWithErrors(Job):
    """A job, and every failure so far, oldest first."""

    errors: list[JobFailure]


class JobPage(TypedDict):
    """Some jobs, newest first; `next_cursor` leads to the older ones."""

    jobs: list[Job]
    next_cursor: str | None


class Explanation(TypedDict):
    """Why a job is not running: in one sentence, as a code, and the facts it rests on."""

    code: str
    sentence: str
    facts: dict[str, Any]


class MatchCount(TypedDict):
    """What a filter means: how many jobs, and from when to when they were made."""

    matched: int
    oldest: datetime | None
    newest: datetime | None


class CancelResult(TypedDict):
    """How many jobs were cancelled at once, and how many run and have been told to stop."""

    cancelled: int
    cancelling: int


class NothingToRetry(TypedDict):
    """The filter means no job that could be retried."""

    matched: int


class Replay(TypedDict):
    """A bulk retry; `jobs`: how those it released fare."""

    id: str
    state: Literal["releasing", "finished", "stopped", "cancelled"]
    reason: str | None
    filter: dict[str, Any]
    rate: float | None
    stop_after: int | None
    matched: int
    released: int
    created_at: datetime
    ended_at: datetime | None
    jobs: dict[State, int]


class Schedule(TypedDict):
    """A recurring job; `next` are the times it fires next."""

    id: str
    name: str
    queue: str
    kind: str
    payload: dict[str, Any]
    cron: str
    timezone: str
    catch_up: Literal["skip", "one", "all"]
    created_at: datetime
    last_at: datetime | None
    missed: int
    paused: bool
    next: list[datetime]
    priority: Priority
    max_attempts: int
    timeout_s: float
    unique_for: str | None
    tags: list[str]


class Schedules(TypedDict):
    """The tenant's schedules, by name."""

    schedules: list[Schedule]


class QueueDepth(TypedDict):
    """Unfinished jobs of a queue, by state."""

    scheduled: int
    queued: int
    running: int
    waiting: int


class Queue(TypedDict):
    """A queue of the whole fleet."""

    name: str
    depth: QueueDepth
    paused_at: datetime | None
    max_running: int | None
    max_running_per_tenant: int | None
    workers: int
    slots: int
    worker_seen_at: datetime | None
    oldest_waiting_at: datetime | None
    ended_last_minute: int


class Queues(TypedDict):
    """Every queue."""

    queues: list[Queue]


class Key(TypedDict):
    """An API key, without its secret. `scopes`: null for all of its role."""

    id: str
    name: str
    role: Role
    scopes: list[Scope] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class IssuedKey(Key):
    """A new API key, and the only time it is shown."""

    key: str


class Keys(TypedDict):
    """Every key of the tenant."""

    keys: list[Key]


class Limit(TypedDict):
    """How the caller stands with one limit. `window_s`: null for a bound on what runs at once."""

    policy: str
    per: Literal["all", "ip", "account", "user"]
    limit: int
    window_s: int | None
    remaining: int
    resets_in_s: int | None
    shadow: bool


class Limits(TypedDict):
    """The caller's limits. `mode`: who decides them at this moment."""

    mode: Literal["shared", "alone", "returning"]
    limits: list[Limit]


class TenantLimits(TypedDict):
    """What a tenant has of its own, by policy, as it is written; everything else is as for all."""

    tenant: str
    limits: dict[str, str]


class Token(TypedDict):
    """A short-lived token, to be sent like a key."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class InvalidField(TypedDict):
    """A field, and what is wrong with it."""

    field: str
    message: str


class RecipientStatus(TypedDict):
    """How a recipient of a letter stands. `code`, `enhanced_code`, `reply`: what the relay said last.

    `possible_duplicates`: how often it was sent again without knowing whether it had arrived.
    """

    number: int
    to: str
    state: str
    tries: int
    possible_duplicates: int
    code: int | None
    enhanced_code: str | None
    reply: str | None
    due_at: datetime
    sent_at: datetime | None
    updated_at: datetime


class Recipients(TypedDict):
    """Some recipients of a letter; `counts`: of all, by state; `next_after`: where to go on, if there are more."""

    recipients: list[RecipientStatus]
    counts: dict[str, int]
    next_after: int | None


class RenderedTemplate(TypedDict):
    """A template, filled in; or the `problem` with it."""

    subject: str | None
    text: str | None
    html: str | None
    problem: str | None


class TemplateSummary(TypedDict):
    """A version of a template, without its text."""

    name: str
    version: int
    subject: str
    created_at: datetime


class Template(TemplateSummary):
    """A version of a template."""

    text: str | None
    html: str | None


class Templates(TypedDict):
    """A page of templates by name, each in its last version."""

    templates: list[TemplateSummary]
    next_after: str | None


class Suppression(TypedDict):
    """An address that gets no mail."""

    number: int
    address: str
    reason: str
    created_at: datetime
    expires_at: datetime | None


class Suppressions(TypedDict):
    """Some of the addresses that get no mail; `next_after`: where to go on, if there are more."""

    suppressions: list[Suppression]
    next_after: int | None


class DeadlineSummary(TypedDict):
    """A deadline; `followers`: how many."""

    name: str
    due_at: datetime
    updated_at: datetime
    followers: int


class Follower(TypedDict):
    """Who is reminded; `reminded_days`: how many days before the deadline, as it is now, they last were."""

    to: str
    variables: dict[str, Any]
    time_zone: str | None
    reminded_days: int | None


class Deadline(TypedDict):
    """A deadline with its followers by address."""

    name: str
    due_at: datetime
    updated_at: datetime
    variables: dict[str, Any]
    followers: list[Follower]


class Deadlines(TypedDict):
    """A page of deadlines by name."""

    deadlines: list[DeadlineSummary]
    next_after: str | None


class SuppressionsAdded(TypedDict):
    """How many addresses were not suppressed before."""

    added: int

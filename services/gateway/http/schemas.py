"""The types of the documents that this API returns; /openapi.json has their schemas."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from libs.common.contracts.moments import Told
from libs.common.ledger.jobs import Priority, State
from services.gateway.identity.scopes import Role, Scope


class Progress(TypedDict):
    """The progress of the running attempt or, while a job waits for its children, of the children."""

    done: int
    total: int | None
    note: str | None
    seconds_left: int | None


class Artifact(TypedDict):
    """A file that a job made."""

    name: str
    filename: str
    """What it is saved as: that of a document is named after the file that was uploaded."""
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
    """A job and its state."""

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
    created_at: Told
    due_at: Told
    started_at: Told | None
    finished_at: Told | None
    cancel_requested_at: Told | None
    result: dict[str, Any] | None
    artifacts: list[Artifact]
    error: JobError | None
    tags: list[str]
    traceparent: str | None
    schedule: str | None
    replay: str | None


class JobFailure(TypedDict, total=False):
    """A failed attempt. Only admins see `traceback`."""

    at: Told
    attempt: int
    code: str
    type: str | None
    message: str
    retryable: bool | None
    traceback: str | None


class JobWithErrors(Job):
    """A job with all its failures so far, oldest first."""

    errors: list[JobFailure]


class JobPage(TypedDict):
    """A page of jobs, newest first. `next_cursor` leads to older ones; null on the last page."""

    jobs: list[Job]
    next_cursor: str | None


class Explanation(TypedDict):
    """Why a job is not running: a code, a sentence, and the facts behind them."""

    code: str
    sentence: str
    facts: dict[str, Any]


class MatchCount(TypedDict):
    """How many jobs match a filter, and when the oldest and the newest of them were created."""

    matched: int
    oldest: Told | None
    newest: Told | None


class CancelResult(TypedDict):
    """How many jobs were cancelled at once, and how many are running and were told to stop."""

    cancelled: int
    cancelling: int


class NothingToRetry(TypedDict):
    """The filter matches no job that could be retried; `matched` is 0."""

    matched: int


class Replay(TypedDict):
    """A bulk retry. `jobs` counts the released jobs by state."""

    id: str
    state: Literal["releasing", "finished", "stopped", "cancelled"]
    reason: str | None
    filter: dict[str, Any]
    rate: float | None
    stop_after: int | None
    matched: int
    released: int
    created_at: Told
    ended_at: Told | None
    jobs: dict[State, int]


class ListedSchedule(TypedDict):
    """A recurring job. `next` lists the next times it fires."""

    id: str
    name: str
    queue: str
    kind: str
    cron: str
    timezone: str
    catch_up: Literal["skip", "one", "all"]
    created_at: Told
    last_at: Told | None
    missed: int
    paused: bool
    next: list[Told]
    priority: Priority
    max_attempts: int
    timeout_s: float
    unique_for: str | None
    tags: list[str]


class Schedule(ListedSchedule):
    """A recurring job with the payload of its jobs."""

    payload: dict[str, Any]


class SchedulePage(TypedDict):
    """A page of the tenant's schedules, without payloads. `next_cursor` is null on the last page."""

    schedules: list[ListedSchedule]
    next_cursor: str | None


class QueueDepth(TypedDict):
    """Unfinished jobs of a queue, by state."""

    scheduled: int
    queued: int
    running: int
    waiting: int


class Queue(TypedDict):
    """A queue, which all tenants share."""

    name: str
    depth: QueueDepth
    paused_at: Told | None
    max_running: int | None
    max_running_per_tenant: int | None
    workers: int
    slots: int
    worker_seen_at: Told | None
    oldest_waiting_at: Told | None
    ended_last_minute: int


class QueueList(TypedDict):
    """All queues."""

    queues: list[Queue]


class Key(TypedDict):
    """An API key without its secret. `scopes` null means all scopes of its role."""

    id: str
    name: str
    role: Role
    scopes: list[Scope] | None
    created_at: Told
    expires_at: Told | None
    revoked_at: Told | None


class IssuedKey(Key):
    """A new API key. `key` is shown only in this response."""

    key: str


class KeyPage(TypedDict):
    """A page of the tenant's keys. `next_cursor` is null on the last page."""

    keys: list[Key]
    next_cursor: str | None


class Limit(TypedDict):
    """What remains of one of the caller's limits. `window_s` is null for a concurrency limit."""

    policy: str
    per: Literal["all", "ip", "account", "user", "tenant"]
    limit: int
    window_s: int | None
    remaining: int
    resets_in_s: int | None
    shadow: bool


class LimitList(TypedDict):
    """The caller's limits. `mode`: Redis decides (shared), this gateway's share (alone), or both (returning)."""

    mode: Literal["shared", "alone", "returning"]
    limits: list[Limit]


class TenantLimits(TypedDict):
    """A tenant's own limits as text, by policy. The default limits apply to all other policies."""

    tenant: str
    limits: dict[str, str]


class Token(TypedDict):
    """A short-lived token, which is sent like an API key. `expires_in` is in seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class InvalidField(TypedDict):
    """An invalid field, and what is wrong with it."""

    field: str
    pointer: NotRequired[str]
    code: str
    message: str


class RecipientStatus(TypedDict):
    """The state of a letter's recipient. `code`, `enhanced_code` and `reply` are the relay's last reply.

    `possible_duplicates` counts how often it was sent again while it was unknown whether it had arrived.
    """

    number: int
    to: str
    state: str
    tries: int
    possible_duplicates: int
    code: int | None
    enhanced_code: str | None
    reply: str | None
    due_at: Told
    sent_at: Told | None
    updated_at: Told


class RecipientPage(TypedDict):
    """A page of a letter's recipients. `counts` counts all of them by state; `next_cursor` begins the next one."""

    recipients: list[RecipientStatus]
    counts: dict[str, int]
    next_cursor: str | None


class RenderedTemplate(TypedDict):
    """A rendered template, or the `problem` with it."""

    subject: str | None
    text: str | None
    html: str | None
    problem: str | None


class TemplateSummary(TypedDict):
    """A version of a template, without its text."""

    name: str
    version: int
    subject: str
    created_at: Told


class Template(TemplateSummary):
    """A version of a template."""

    text: str | None
    html: str | None


class TemplatePage(TypedDict):
    """A page of templates by name, each in its latest version."""

    templates: list[TemplateSummary]
    next_cursor: str | None


class Suppression(TypedDict):
    """An address that gets no mail."""

    number: int
    address: str
    reason: str
    created_at: Told
    expires_at: Told | None


class SuppressionPage(TypedDict):
    """A page of the addresses that get no mail. `next_cursor` begins the next page."""

    suppressions: list[Suppression]
    next_cursor: str | None


class DeadlineSummary(TypedDict):
    """A deadline without its followers; `followers` is their number.

    `opportunity`: what it follows. `gone_at`: since when that is gone.
    """

    name: str
    due_at: Told | None
    updated_at: Told
    opportunity: str | None
    gone_at: Told | None
    followers: int


class Follower(TypedDict):
    """Someone who is reminded. `reminded_days`: days before the current due date of the last reminder."""

    to: str
    variables: dict[str, Any]
    time_zone: str | None
    reminded_days: int | None


class Deadline(TypedDict):
    """A deadline with its followers, by address.

    `opportunity`: what it follows, which may have no date. `gone_at`: since when that is gone.
    """

    name: str
    due_at: Told | None
    updated_at: Told
    opportunity: str | None
    gone_at: Told | None
    variables: dict[str, Any]
    followers: list[Follower]


class DeadlinePage(TypedDict):
    """A page of deadlines by name."""

    deadlines: list[DeadlineSummary]
    next_cursor: str | None


class SuppressionsAdded(TypedDict):
    """How many of the addresses were not suppressed before."""

    added: int

"""A job as it is accepted, and as it is read back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict, cast
from uuid import UUID

import orjson
import uuid_utils.compat

from libs.common.contracts.services import QUEUES_UNLISTED
from libs.common.db import PROMPT_S, Database


class State(StrEnum):
    """The state of a job. The last three are end states."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    """Waits for its children."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """How far ahead of its due time a job is ranked in the queue. As time passes, no job starves."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


HEAD_START_S: dict[Priority, float] = {Priority.HIGH: 900.0, Priority.NORMAL: 300.0, Priority.LOW: 0.0}
"""How many seconds before its due time a job of each priority is ranked."""
WAITS_SINCE = "greatest({job}.due_at, {job}.created_at)"
"""SQL: since when a job has waited. One whose `run_at` was in the past has not waited before it was accepted."""


def new_id() -> UUID:
    """A new UUIDv7."""
    return uuid_utils.compat.uuid7()


@dataclass(slots=True, frozen=True)
class NewJob:
    """A job to be accepted. `payload` is a JSON document for the worker; `timeout_s` is for one attempt."""

    tenant: str
    created_by: str
    queue: str
    kind: str
    payload: bytes
    id: UUID = field(default_factory=new_id)
    priority: Priority = Priority.NORMAL
    run_at: datetime | None = None
    max_attempts: int = 5
    timeout_s: float = 3600.0
    tags: tuple[str, ...] = ()
    trace: str | None = None
    idempotency_key: str | None = None
    request_sha256: bytes | None = None
    unique_key: str | None = None
    schedule: UUID | None = None
    secret: bytes | None = field(default=None, repr=False)
    """What only its worker may know, sealed for this job (sealing.py). It is gone when the job ends."""
    bytes: int = 0
    """The size of the job's upload in the blob store."""


OPEN_CHILDREN = """SELECT count(*) FROM ledger.jobs c
  WHERE c.parent = jobs.id AND c.parent IS NOT NULL AND c.finished_at IS NULL"""
"""How many children of `jobs` have not ended. A partial index answers it."""
# The progress of a waiting job is that of its children. The time left is estimated from how fast they end. After a
# retry it is unknown, because some children had ended before.
PROGRESS = f"""CASE WHEN state <> 'waiting' THEN progress ELSE (
  SELECT progress || jsonb_build_object('done', children - left_over, 'seconds_left', CASE WHEN attempt = 1 THEN
    round(extract(epoch FROM now() - started_at) * left_over / nullif(children - left_over, 0)) END)
  FROM ({OPEN_CHILDREN}) AS one (left_over)) END AS progress"""  # noqa: S608 - made of constants


class JobFacts(TypedDict):
    """A job as the ledger shows it to callers; FACTS reads exactly these columns, in this order."""

    id: UUID
    tenant: str
    queue: str
    kind: str
    state: State
    priority: Priority
    attempt: int
    failures: int
    max_attempts: int
    parent: UUID | None
    children: int
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    artifacts: list[dict[str, Any]] | None
    error: dict[str, Any] | None
    """The last failure, unless the job has succeeded."""
    tags: list[str]
    trace: str | None
    schedule: UUID | None
    replay: UUID | None


class JobHistory(JobFacts):
    """A job, and every failure so far, oldest first."""

    errors: list[dict[str, Any]] | None


_COMPUTED = {"progress": PROGRESS, "error": "CASE WHEN state <> 'succeeded' THEN errors -> -1 END AS error"}
FACTS = ", ".join(_COMPUTED.get(column, column) for column in JobFacts.__annotations__)
"""The SELECT list for JobFacts."""


def facts_of(row: Any) -> JobFacts:
    """A row that was read with FACTS."""
    facts = dict(row)
    facts["state"], facts["priority"] = State(facts["state"]), Priority(facts["priority"])
    return cast(JobFacts, facts)


async def find(db: Database, tenant: str, job_id: UUID) -> JobHistory | None:
    """One job of `tenant` with all its `errors`, or None. Raises Unavailable."""
    sql = f"SELECT {FACTS}, errors FROM ledger.jobs WHERE id = $1 AND tenant = $2"  # noqa: S608
    rows = await db.fetch(sql, job_id, tenant, tenant=tenant, timeout_s=PROMPT_S)
    return cast(JobHistory, facts_of(rows[0])) if rows else None


async def payload(db: Database, tenant: str, job_id: UUID, *, queue: str) -> dict[str, Any] | None:
    """The payload of a job of `tenant` in `queue`, or None. Raises Unavailable."""
    sql = "SELECT payload FROM ledger.jobs WHERE id = $1 AND tenant = $2 AND queue = $3"
    rows = await db.fetch(sql, job_id, tenant, queue, tenant=tenant)
    return rows[0][0] if rows else None


async def read(db: Database, ids: Sequence[UUID]) -> dict[UUID, JobFacts]:
    """The FACTS of many jobs of any tenants, by id, in one statement. Raises Unavailable."""
    sql = f"SELECT {FACTS} FROM ledger.jobs WHERE id = ANY($1)"  # noqa: S608
    rows = await db.fetch(sql, ids, timeout_s=PROMPT_S)
    return {row["id"]: facts_of(row) for row in rows}


_CHILDREN_ENDED = f"CASE WHEN state = 'waiting' THEN children - ({OPEN_CHILDREN})::int END"


async def versions(db: Database, ids: Sequence[UUID]) -> list[tuple[UUID, str, int, int, int | None]]:
    """Of many jobs, the columns that show whether anything has changed. Raises Unavailable.

    They are id, state, attempt, failures, and the number of children that have ended (None unless it waits).
    """
    sql = f"SELECT id, state, attempt, failures, {_CHILDREN_ENDED} FROM ledger.jobs WHERE id = ANY($1)"  # noqa: S608
    return [tuple(row) for row in await db.fetch(sql, ids, timeout_s=PROMPT_S)]


@dataclass(slots=True, frozen=True)
class Filter:
    """Selects jobs of a tenant. A field that is None matches any job. `states` must not be empty.

    Without `queue` and `parent`, jobs of the QUEUES_UNLISTED do not match.
    """

    queue: str | None = None
    kind: str | None = None
    states: tuple[State, ...] | None = None
    tag: str | None = None
    error_code: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    parent: UUID | None = None
    """Selects the children of this job; None: jobs that are not children."""

    def condition(self, tenant: str) -> tuple[str, list[object]]:
        """An SQL condition on ledger.jobs with `$1, $2, …`, and the values for these.

        The states and the queues that are not listed are literals in the SQL, so that the planner can use a
        matching partial index.
        """
        parts = ["tenant = $1"]
        values: list[object] = [tenant]

        def add(condition: str, value: object) -> None:
            if value is not None:
                values.append(value)
                parts.append(condition.format(f"${len(values)}"))

        add("parent = {}", self.parent)
        if self.parent is None:
            parts.append("parent IS NULL")
            parts += [f"queue {'=' if queue == self.queue else '<>'} '{queue}'" for queue in QUEUES_UNLISTED]
        add("queue = {}", self.queue)
        add("kind = {}", self.kind)
        add("tags @> {}::jsonb", None if self.tag is None else orjson.dumps([self.tag]).decode())
        add("errors -> -1 ->> 'code' = {}", self.error_code)
        add("created_at < {}", self.created_before)
        add("created_at > {}", self.created_after)
        if self.states is not None:
            parts.append(f"state IN ({', '.join(map(repr, map(str, self.states)))})")
        return " AND ".join(parts), values


async def page(
    db: Database, tenant: str, wanted: Filter, *, before: UUID | None = None, limit: int = 50
) -> list[JobFacts]:
    """Up to `limit` matching jobs of `tenant`, newest first, older than job `before`. Raises Unavailable."""
    condition, values = wanted.condition(tenant)
    if before is not None:
        values.append(before)
        condition += f" AND id < ${len(values)}"
    sql = f"SELECT {FACTS} FROM ledger.jobs WHERE {condition} ORDER BY id DESC LIMIT {limit:d}"  # noqa: S608
    return [facts_of(row) for row in await db.fetch(sql, *values, tenant=tenant)]

"""A job as it is accepted, and as it is read back."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat

from libs.common.db import Database


class State(StrEnum):
    """Where a job is in its life. The last three are ends."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """How far ahead of its time a job may stand in the queue. Time passes, so none starves."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


HEAD_START_S: dict[Priority, float] = {Priority.HIGH: 900.0, Priority.NORMAL: 300.0, Priority.LOW: 0.0}
"""Seconds by which a job of each priority is ranked before its due time."""


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid_utils.compat.uuid7()


@dataclass(slots=True, frozen=True)
class NewJob:
    """What the ledger needs to know of a job. `payload` is a JSON document the worker understands."""

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


_FACTS = """id, tenant, queue, kind, state, priority, attempt, failures, max_attempts,
  created_at, due_at, started_at, finished_at, progress, result, artifacts, error, tags"""


async def find(db: Database, tenant: str, job_id: UUID) -> dict[str, Any] | None:
    """The facts of one job of `tenant`, or None. Raises Unavailable."""
    rows = await db.fetch(f"SELECT {_FACTS} FROM ledger.jobs WHERE id = $1 AND tenant = $2", job_id, tenant)  # noqa: S608
    return dict(rows[0]) if rows else None


_PAGE = f"""
SELECT {_FACTS} FROM ledger.jobs
WHERE tenant = $1
  AND ($2::uuid IS NULL OR id < $2)
  AND ($3::text IS NULL OR queue = $3)
  AND ($4::text IS NULL OR state = $4)
  AND ($5::jsonb IS NULL OR tags @> $5)
ORDER BY id DESC LIMIT $6
"""  # noqa: S608 - made of constants


async def page(
    db: Database,
    tenant: str,
    *,
    before: UUID | None = None,
    queue: str | None = None,
    state: State | None = None,
    tag: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Up to `limit` jobs of `tenant`, newest first, older than job `before`. Raises Unavailable."""
    wanted_tag = None if tag is None else orjson.dumps([tag]).decode()
    rows = await db.fetch(_PAGE, tenant, before, queue, state, wanted_tag, limit)
    return [dict(row) for row in rows]

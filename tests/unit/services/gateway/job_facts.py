"""A job as the ledger shows it, with what a test wants to be different."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from libs.common.ledger.jobs import JobHistory, Priority, State

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
JOB = UUID(int=7)


def job_facts(**changes: Any) -> JobHistory:
    """A queued job of tenant `acme`."""
    facts: JobHistory = {
        "id": JOB,
        "tenant": "acme",
        "queue": "ocr",
        "kind": "document",
        "state": State.QUEUED,
        "priority": Priority.NORMAL,
        "attempt": 0,
        "failures": 0,
        "max_attempts": 5,
        "parent": None,
        "children": 0,
        "created_at": NOW,
        "due_at": NOW,
        "started_at": None,
        "finished_at": None,
        "cancel_requested_at": None,
        "progress": None,
        "result": None,
        "artifacts": None,
        "error": None,
        "tags": ["a"],
        "trace": None,
        "schedule": None,
        "replay": None,
        "errors": None,
    }
    return cast(JobHistory, {**facts, **changes})

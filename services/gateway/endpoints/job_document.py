"""The JSON document of a job, as the API shows it."""

from datetime import datetime
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from libs.common.contracts.ids import public_id
from libs.common.ledger.jobs import JobFacts, JobHistory
from services.gateway.http.schemas import Artifact, Job, JobError, JobFailure, Progress

_NO_PROGRESS: Progress = {"done": 0, "total": None, "note": None, "seconds_left": None}


def job_document(facts: JobFacts, base: str) -> Job:
    """The document for a job's facts in the ledger. `base`: what comes before the paths in it (`base_of`)."""
    job_id = public_id(facts["id"])
    return {
        "id": job_id,
        "queue": facts["queue"],
        "kind": facts["kind"],
        "state": facts["state"],
        "priority": facts["priority"],
        "attempt": facts["attempt"],
        "failures": facts["failures"],
        "max_attempts": facts["max_attempts"],
        "progress": _progress(facts["progress"]),
        "parent": _public(facts["parent"]),
        "children": facts["children"],
        "created_at": facts["created_at"],
        "due_at": facts["due_at"],
        "started_at": facts["started_at"],
        "finished_at": facts["finished_at"],
        "cancel_requested_at": facts["cancel_requested_at"],
        "result": facts["result"],
        "artifacts": [_artifact(job_id, artifact, base) for artifact in facts["artifacts"] or ()],
        "error": _error(facts["error"]),
        "tags": facts["tags"],
        "traceparent": facts["trace"],
        "schedule": _public(facts["schedule"], "schedule"),
        "replay": _public(facts["replay"], "replay"),
    }


def _public(id_: UUID | None, what: str = "job") -> str | None:
    return None if id_ is None else public_id(id_, what)


def _progress(progress: dict[str, Any] | None) -> Progress:
    return cast(Progress, {**_NO_PROGRESS, **(progress or {})})


def _artifact(job_id: str, artifact: dict[str, Any], base: str) -> Artifact:
    return {
        "name": artifact["name"],
        "filename": artifact.get("filename") or artifact["name"],
        "media_type": artifact["media_type"],
        "size": artifact["size"],
        "sha256": artifact["sha256"],
        "url": f"{base}/v1/jobs/{job_id}/artifacts/{quote(artifact['name'], safe='')}",
    }


def _error(error: dict[str, Any] | None) -> JobError | None:
    if error is None:
        return None
    return {"code": error.get("code"), "message": error.get("message"), "retryable": error.get("retryable")}


def error_history(facts: JobHistory, *, with_tracebacks: bool) -> list[JobFailure]:
    """Every failure of a job, oldest first. Tracebacks are for admins, because they reveal the code."""
    shown = ("at", "attempt", "code", "type", "message", "retryable", *(["traceback"] if with_tracebacks else []))
    history: list[Any] = [{name: error.get(name) for name in shown} for error in facts["errors"] or ()]
    for error in history:
        error["at"] = datetime.fromisoformat(error["at"])
    return history

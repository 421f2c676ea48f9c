"""A job as callers see it."""

from typing import Any
from urllib.parse import quote

from libs.common.contracts.ids import public_id

_NO_PROGRESS = {"done": 0, "total": None, "note": None}
_AS_THEY_ARE = ("queue", "kind", "state", "priority", "attempt", "failures", "max_attempts")
_MOMENTS = ("created_at", "due_at", "started_at", "finished_at", "cancel_requested_at")


def job_document(facts: dict[str, Any]) -> dict[str, Any]:
    """The JSON document for the facts of a job in the ledger."""
    job_id = public_id(facts["id"])
    return {
        "id": job_id,
        **{name: facts[name] for name in _AS_THEY_ARE},
        "progress": facts["progress"] or _NO_PROGRESS,
        **{name: facts[name] for name in _MOMENTS},
        "result": facts["result"],
        "artifacts": [_artifact(job_id, artifact) for artifact in facts["artifacts"] or ()],
        "error": _error(facts["error"]),
        "tags": facts["tags"],
        "schedule": facts["schedule"] and public_id(facts["schedule"], "schedule"),
        "replay": facts["replay"] and public_id(facts["replay"], "replay"),
    }


def _artifact(job_id: str, artifact: dict[str, Any]) -> dict[str, Any]:
    shown = {name: artifact[name] for name in ("name", "media_type", "size", "sha256")}
    return shown | {"url": f"/v1/jobs/{job_id}/artifacts/{quote(artifact['name'])}"}


def _error(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return error and {name: error.get(name) for name in ("code", "message", "retryable")}


def error_history(facts: dict[str, Any], *, with_tracebacks: bool) -> list[dict[str, Any]]:
    """Every failure of a job, oldest first. Tracebacks are for admins: they tell of the code."""
    shown = ("at", "attempt", "code", "type", "message", "retryable", *(["traceback"] if with_tracebacks else []))
    return [{name: error.get(name) for name in shown} for error in facts["errors"] or ()]

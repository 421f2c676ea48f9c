"""GET /v1/jobs/{id}/why: why the job is not running, in one sentence, with the facts."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ids import public_id
from libs.common.ledger import queue_position
from services.gateway.endpoints.jobs import find_job
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response
from services.gateway.http.state import state_of


async def explain_job(request: Request) -> Response:
    """Why a job is not running: a sentence, a code for programs, and the facts behind them."""
    principal = caller(request)
    job = await find_job(request)
    facts = await queue_position.queue_position(state_of(request).database, principal.tenant, job["id"])
    code, sentence, evidence = explain(facts or dict(job))
    document = {"code": code, "sentence": sentence, "facts": evidence}
    return json_response(document)


_QUEUED = ("slots", "workers", "running", "share", "preempted")
Explanation = tuple[str, str, dict[str, Any]]


def explain(facts: dict[str, Any]) -> Explanation:
    """A code, a sentence and its facts, from a job's queue position (see ledger/queue_position.py)."""
    match facts["state"]:
        case "scheduled":
            return _scheduled(facts)
        case "queued":
            return _queued(facts)
        case "running":
            return _running(facts)
        case "waiting":
            progress = facts["progress"]
            sentence = f"It waits for its children: {progress['done']} of {progress['total']} have ended."
            note = facts.get("note")
            sentence += f" At least one is held: {note}" if note else ""
            return "waiting", sentence, {"progress": progress, "note": note}
    return (
        facts["state"],
        f"It has ended: it {'was cancelled' if facts['state'] == 'cancelled' else facts['state']}.",
        {"finished_at": facts["finished_at"], "error": _message(facts)},
    )


def _scheduled(facts: dict[str, Any]) -> Explanation:
    evidence = {"due_at": facts["due_at"], "failures": facts["failures"], "error": _message(facts)}
    moment = f"{facts['due_at']:%Y-%m-%d %H:%M:%S} UTC"
    error = facts.get("error") or {}
    if error.get("outage") and error["attempt"] == facts["attempt"]:
        return (
            error["code"],
            f"It waits for a server that is away, and is tried again at {moment}: {error['message']}",
            evidence,
        )
    if facts["failures"]:
        return (
            "waiting_to_retry",
            f"It failed {_times(facts['failures'])} and is tried again at {moment}.",
            evidence,
        )
    if note := facts.get("note"):
        return "held", f"It is held until {moment}: {note}", evidence | {"note": note}
    return "scheduled", f"It is scheduled for {moment}.", evidence


def _running(facts: dict[str, Any]) -> Explanation:
    evidence = {name: facts[name] for name in ("started_at", "attempt", "progress", "share", "preempted")}
    if facts["cancel_requested_at"] is not None:
        return "cancelling", "It is running, and has been told to stop.", evidence
    if facts["gives_way"]:
        return "giving_way", "It is running, and has been told to give way to another tenant.", evidence
    return "running", f"It is running, since {facts['started_at']:%Y-%m-%d %H:%M:%S} UTC.", evidence


def _queued(facts: dict[str, Any]) -> Explanation:
    queue = facts["queue"]
    if facts["paused_at"] is not None:
        return "paused", f"The queue {queue} is paused.", {"paused_at": facts["paused_at"]}
    if not facts["workers"]:
        seen = facts["worker_seen_at"]
        since = f" since {seen:%Y-%m-%d %H:%M:%S} UTC" if seen else " yet"
        return "no_worker", f"The queue {queue} has had no worker{since}.", {"worker_seen_at": seen}
    if facts["ticketed_at"] is None:
        return _held_back(facts)
    if facts["running"] >= facts["slots"]:
        busy = f"All {facts['slots']} slots of the queue's workers are busy"
        sentence = f"{busy}; {_jobs(facts['tickets_ahead'])} before it."
    else:
        sentence = f"It is being handed to a worker; {_jobs(facts['tickets_ahead'])} before it."
    evidence = {name: facts[name] for name in ("ticketed_at", "tickets_ahead", *_QUEUED)}
    return "next", sentence, evidence


def _held_back(facts: dict[str, Any]) -> Explanation:
    """Why a queued job has no ticket yet: because of a cap, or because other jobs are before it."""
    holding = [public_id(job_id) for job_id in facts["holding"]]
    cap, all_cap = facts["max_running_per_tenant"], facts["max_running"]
    if cap is not None and facts["held"] >= cap:
        sentence = f"At most {cap} jobs of a tenant may run at once in this queue, and {facts['held']} do."
        return "tenant_cap", sentence, {"max_running_per_tenant": cap, "held_by": holding}
    if all_cap is not None and facts["running"] + facts["tickets_ahead"] >= all_cap:
        sentence = f"At most {all_cap} jobs may run at once in this queue, and {facts['running']} do."
        return "queue_cap", sentence, {"max_running": all_cap, "running": facts["running"]}
    evidence = {name: facts[name] for name in ("ahead", "tickets_ahead", *_QUEUED)}
    share = facts["share"]
    if facts["shared"] and share["of"] > share["slots"] <= facts["held"]:
        of = f"{share['slots']} of {share['of']} slots"
        sentence = f"While others wait, the share of a tenant is {of}, and yours holds {facts['held']}."
        return "tenant_share", sentence, evidence | {"held_by": holding}
    sentence = (
        f"It waits behind {facts['ahead']} jobs of its tenant, and {facts['tickets_ahead']} that have tickets."
    )
    return "behind", sentence, evidence


def _message(facts: dict[str, Any]) -> str | None:
    error = facts.get("error")
    return error and error.get("message")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _jobs(number: int) -> str:
    return "1 job is" if number == 1 else f"{number} jobs are"

"""What all endpoints that submit a job share: the job's fields, the request headers, and the response."""

import asyncio
import hashlib
import re
from dataclasses import replace
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.blobs import job_folder
from libs.common.contracts.ids import public_id
from libs.common.contracts.moments import Moment
from libs.common.contracts.whole_numbers import WHOLE
from libs.common.ledger import jobs
from libs.common.ledger.accept import Accepted
from libs.common.ledger.jobs import JobFacts, NewJob, Priority
from services.gateway.endpoints.job_document import job_document
from services.gateway.engine.job_updates import JobUpdates
from services.gateway.http.idempotency import idempotency_headers, idempotency_key
from services.gateway.http.json_io import json_response
from services.gateway.http.preferences import preferences
from services.gateway.http.request_log import traceparent_of
from services.gateway.http.state import base_of, state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import Conflict, IdempotencyMismatch

JOINED = "Unique-For-Joined"
"""The header field of an answer with a job that another submission has made, whose `unique_for` is the same."""
Tag = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
WAIT_AT_MOST_S = 45
"""Proxies in front give up after 60 s, if nobody has told them otherwise."""


class JobFields(BaseModel):
    """The fields that every submission accepts."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Priority.NORMAL
    run_at: Moment | None = None
    max_attempts: Annotated[int, Field(ge=1, le=25), WHOLE] = 5
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    unique_for: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")] | None = None
    """At most one unfinished job of the tenant in the queue has this key. A second submission returns that job."""
    tags: Annotated[tuple[Tag, ...], Field(max_length=20)] = ()


def new_job(
    request: Request,
    principal: Principal,
    fields: JobFields,
    *,
    job_id: UUID,
    queue: str,
    kind: str,
    payload: bytes,
    fingerprint: bytes,
    size: int = 0,
    secret: bytes | None = None,
) -> NewJob:
    """The job of a submission. `fingerprint` is the SHA-256 of what the caller sent. Raises Invalid."""
    return NewJob(
        id=job_id,
        tenant=principal.tenant,
        created_by=principal.user,
        queue=queue,
        kind=kind,
        payload=payload,
        priority=fields.priority,
        run_at=fields.run_at,
        max_attempts=fields.max_attempts,
        timeout_s=fields.timeout_s,
        unique_key=fields.unique_for,
        tags=fields.tags,
        trace=traceparent_of(request),
        idempotency_key=idempotency_key(request),
        request_sha256=fingerprint,
        bytes=size,
        secret=secret,
    )


def as_requested(request: Request, job: NewJob, fingerprint: bytes) -> NewJob:
    """`job` with the trace and the Idempotency-Key of this request. Raises Invalid."""
    return replace(
        job,
        trace=traceparent_of(request),
        idempotency_key=idempotency_key(request),
        request_sha256=hashlib.sha256(fingerprint).digest(),
    )


class Committed(NamedTuple):
    """A job that is in the ledger, and header fields of the response."""

    facts: JobFacts
    headers: dict[str, str]


async def submit(request: Request, job: NewJob) -> Response:
    """Commit the job and respond. Raises what `commit` raises."""
    return await respond(request, await commit(request, job))


async def commit(request: Request, job: NewJob) -> Committed:
    """Commit the job. A repeated request has the job of the first one.

    Raises IdempotencyMismatch, Conflict, Unavailable.
    """
    state = state_of(request)
    accepted: Accepted = await state.dispatcher.accept(job)
    if accepted.id == job.id:
        return Committed(_facts(job, accepted), idempotency_headers(request, is_repeat=False, queue=job.queue))
    await state.blobs.discard(job_folder(job.tenant, job.id))
    is_repeat = job.idempotency_key is not None and accepted.idempotency_key == job.idempotency_key
    if is_repeat and accepted.request_sha256 != job.request_sha256:
        raise IdempotencyMismatch
    facts = await jobs.find(state.database, job.tenant, accepted.id)
    if facts is None:
        raise Conflict("The job that this request created before has been removed.")
    if is_repeat:
        return Committed(facts, idempotency_headers(request, is_repeat=True, queue=job.queue))
    return Committed(facts, {JOINED: "true"})


async def respond(request: Request, committed: Committed) -> Response:
    """Return 202; with `Prefer: wait`, return 200 and the finished job if it ends in time."""
    state, wait_s = state_of(request), _wait_s(request)
    facts, headers = committed
    if wait_s:
        headers = headers | {"Preference-Applied": f"wait={wait_s}"}
        facts = await _until_ended(state.job_updates, facts, wait_s, state.draining)
    headers = {"Location": f"/v1/jobs/{public_id(facts['id'])}", **headers}
    document = job_document(facts, base_of(request))
    return json_response(document, 200 if wait_s and facts["finished_at"] else 202, headers)


def _wait_s(request: Request) -> int:
    """Seconds that the caller wants to wait for the end of the job (RFC 7240, 4.3); 0 for not at all."""
    wanted = preferences(request.headers.getlist("prefer")).get("wait", "")
    return min(int(wanted), WAIT_AT_MOST_S) if re.fullmatch("[0-9]{1,18}", wanted) else 0


async def _until_ended(updates: JobUpdates, facts: JobFacts, wait_s: int, draining: asyncio.Event) -> JobFacts:
    """The job's facts when it ends, or the latest ones after `wait_s` seconds or when this gateway stops."""
    with updates.follow(facts) as follower:
        async for latest, _progress in follower.updates(wait_s):
            facts = latest or facts
            if facts["finished_at"] or draining.is_set():
                break
    return facts


def _facts(job: NewJob, accepted: Accepted) -> JobFacts:
    """The facts of a new job, as reading it from the ledger would return them."""
    return {
        "id": job.id,
        "tenant": job.tenant,
        "queue": job.queue,
        "kind": job.kind,
        "state": accepted.state,
        "priority": job.priority,
        "attempt": 0,
        "failures": 0,
        "max_attempts": job.max_attempts,
        "parent": None,
        "children": 0,
        "created_at": accepted.created_at,
        "due_at": accepted.due_at,
        "started_at": None,
        "finished_at": None,
        "cancel_requested_at": None,
        "progress": None,
        "result": None,
        "artifacts": None,
        "error": None,
        "tags": list(job.tags),
        "trace": job.trace,
        "schedule": job.schedule,
        "replay": None,
    }

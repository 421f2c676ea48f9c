"""What every call that submits a job has in common: its fields, and the 202."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.job import public_id
from libs.common.ledger.accept import Accepted
from libs.common.ledger.jobs import NewJob, Priority
from services.gateway.access import traceparent_of
from services.gateway.auth import Principal
from services.gateway.dispatcher import Dispatcher
from services.gateway.rendering import job_document

Tag = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]


class JobFields(BaseModel):
    """The fields any submission may carry."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Priority.NORMAL
    run_at: datetime | None = None
    max_attempts: Annotated[int, Field(ge=1, le=25)] = 5
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    tags: Annotated[tuple[Tag, ...], Field(max_length=20)] = ()


async def submit(
    request: Request,
    principal: Principal,
    *,
    job_id: UUID,
    queue: str,
    kind: str,
    payload: bytes,
    fields: JobFields,
    headers: dict[str, str],
) -> Response:
    """Commit the job, then answer 202. Raises Unavailable if the ledger is away."""
    job = NewJob(
        id=job_id,
        tenant=principal.tenant,
        created_by=principal.key_id,
        queue=queue,
        kind=kind,
        payload=payload,
        priority=fields.priority,
        run_at=fields.run_at.astimezone() if fields.run_at else None,
        max_attempts=fields.max_attempts,
        timeout_s=fields.timeout_s,
        tags=fields.tags,
        trace=traceparent_of(request),
    )
    dispatcher: Dispatcher = request.app.state.dispatcher
    accepted = await dispatcher.accept(job)
    location = f"/v1/jobs/{public_id(job.id)}"
    return Response(
        orjson.dumps(job_document(_facts(job, accepted))),
        status_code=202,
        headers={"Location": location, **headers},
        media_type="application/json",
    )


def _facts(job: NewJob, accepted: Accepted) -> dict[str, Any]:
    """The new job as reading it from the ledger would show it."""
    return {
        "id": job.id,
        "queue": job.queue,
        "kind": job.kind,
        "state": accepted.state,
        "priority": job.priority,
        "attempt": 0,
        "failures": 0,
        "max_attempts": job.max_attempts,
        "progress": None,
        "created_at": accepted.created_at,
        "due_at": accepted.due_at,
        "started_at": None,
        "finished_at": None,
        "result": None,
        "artifacts": None,
        "error": None,
        "tags": list(job.tags),
    }

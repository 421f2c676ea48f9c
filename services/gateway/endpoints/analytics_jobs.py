"""Submits the jobs of the analytics worker that a caller asks for, and can wait for."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.services import ANALYTICS
from libs.common.ledger.jobs import new_id
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller


async def submit_analytics(
    request: Request, fields: JobFields, kind: str, payload: bytes, sent: bytes
) -> Response:
    """Submit a job of `kind` and respond. `sent` is what the caller asked for. Raises what `submit` raises."""
    job = new_job(
        request,
        caller(request),
        fields,
        job_id=new_id(),
        queue=ANALYTICS.name,
        kind=kind,
        payload=payload,
        fingerprint=hashlib.sha256(sent).digest(),
    )
    return await submit(request, job)

"""GET /v1/jobs, GET /v1/jobs/{id} and its children."""

import base64
import hashlib
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ids import parse_id
from libs.common.contracts.json_documents import encoded
from libs.common.ledger import jobs as ledger
from libs.common.ledger.jobs import Filter, JobHistory, State
from services.gateway.endpoints.job_document import error_history, job_document
from services.gateway.http.admission import caller
from services.gateway.http.conditions import names_etag
from services.gateway.http.json_io import Text, json_response, read_query
from services.gateway.http.schemas import JobPage, JobWithErrors
from services.gateway.http.state import base_of, state_of
from services.gateway.identity.scopes import Role
from services.gateway.problems import Invalid, NotFound


class PageQuery(BaseModel):
    """The query of a list with pages."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{22}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class JobListQuery(PageQuery):
    """The query of GET /v1/jobs."""

    queue: Text | None = None
    state: State | None = None
    tag: Text | None = None


async def show_job(request: Request) -> Response:
    """One job. 304: the caller has this version already (If-None-Match)."""
    principal = caller(request)
    facts = await find_job(request)
    errors = error_history(facts, with_tracebacks=principal.role is Role.ADMIN)
    document: JobWithErrors = {**job_document(facts, base_of(request)), "errors": errors}
    body = encoded(document)
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if names_etag(request.headers.getlist("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def list_jobs(request: Request) -> Response:
    """The tenant's jobs, newest first, in pages."""
    wanted = read_query(request, JobListQuery)
    states = (wanted.state,) if wanted.state else None
    return await _page(request, Filter(queue=wanted.queue, states=states, tag=wanted.tag), wanted)


async def list_children(request: Request) -> Response:
    """The children of a job, newest first, with their progress and results so far."""
    wanted = read_query(request, PageQuery)
    facts = await find_job(request)
    return await _page(request, Filter(parent=facts["id"]), wanted)


async def _page(request: Request, filter_: Filter, wanted: PageQuery) -> Response:
    found = await ledger.page(
        state_of(request).database,
        caller(request).tenant,
        filter_,
        before=_parse_cursor(wanted.cursor),
        limit=wanted.limit + 1,
    )
    page, more = found[: wanted.limit], len(found) > wanted.limit
    base = base_of(request)
    document: JobPage = {
        "jobs": [job_document(facts, base) for facts in page],
        "next_cursor": _cursor(page[-1]["id"]) if more else None,
    }
    return json_response(document)


async def find_job(request: Request) -> JobHistory:
    """The facts of the job in the path. Raises NotFound, also for another tenant's job."""
    principal = caller(request)
    job_id = parse_id(request.path_params["id"])
    facts = None
    if job_id is not None:
        facts = await ledger.find(state_of(request).database, principal.tenant, job_id)
    if facts is None:
        raise NotFound("There is no such job.")
    return facts


def _cursor(job_id: UUID) -> str:
    return base64.urlsafe_b64encode(job_id.bytes).decode().rstrip("=")


def _parse_cursor(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except ValueError as error:
        raise Invalid(errors=[{"field": "query.cursor", "message": "Not a valid cursor."}]) from error

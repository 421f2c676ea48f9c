"""/v1/sources: where opportunities come from, and how they are read."""

import hashlib
import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ids import public_id
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import (
    SOURCE_NAME,
    Format,
    Headers,
    PreviewPayload,
    RemapPayload,
    ReplayPayload,
    SourceAnswer,
    SourceChange,
    SourceSpec,
)
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import NewJob, new_id
from services.gateway.endpoints.service_client import NamePageQuery, NumberPageQuery, call_service, page_of_service
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.request_log import traceparent_of
from services.gateway.http.state import state_of
from services.gateway.problems import Invalid, NotFound

EXAMPLE: JsonDict = {
    "url": "https://example.org/grants.json",
    "format": "json",
    "language": "english",
    "time_zone": "America/New_York",
    "complete": True,
    "paging": {"kind": "offset", "in": "query", "parameter": "offset", "size": ["limit", 100]},
    "mapping": {"records": "grants", "key": "slug", "title": "title", "closes_at": "closeDate"},
}
RUN_WITHIN_S = 300.0
"""Seconds for a slice of a run, and for a preview."""


def _what_goes_together(schema: JsonDict) -> None:
    """Add what a format and a method need, for /openapi.json."""
    schema["examples"] = [EXAMPLE]
    with_own_mapping: JsonDict = {"properties": {"format": {"enum": [Format.FEED, Format.ICS, Format.JSONLD]}}}
    said: JsonDict = {"key": {"type": "string"}, "title": {"type": "string"}}
    mapped: JsonDict = {
        "required": ["mapping"],
        "properties": {"mapping": {"required": ["key", "title"], "properties": said}},
    }
    posted: JsonDict = {"properties": {"method": {"const": "POST"}}, "required": ["method"]}
    schema["allOf"] = [
        {"anyOf": [with_own_mapping, mapped]},
        {"anyOf": [posted, {"properties": {"body": {"type": "null"}}}]},
    ]


class NewSource(SourceSpec):
    """The body of PUT /v1/sources/{name}. Without `headers`, those that the source has stay."""

    model_config = ConfigDict(json_schema_extra=_what_goes_together)

    headers: Headers | None = None


class SourceJobFields(JobFields):
    """The fields of a job of a source. A source has one at a time, so it has no `unique_for` of the caller's."""

    unique_for: None = Field(default=None, exclude=True)
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = RUN_WITHIN_S
    """Seconds for one slice of the job."""


class SourcePreview(JobFields):
    """The body of POST /v1/sources/{name}/preview."""

    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = RUN_WITHIN_S


class RejectedReplay(SourceJobFields):
    """The body of POST /v1/sources/{name}/rejected/replay."""


class SourceRejectedQuery(NumberPageQuery):
    """The query of GET /v1/sources/{name}/rejected."""


async def put_source(request: Request) -> Response:
    """Create a source, or say anew how it is read. It is fetched by `POST /v1/sync` or by a schedule.

    If what is kept must be read otherwise now, a job maps it anew, whose address is in `Location`. A source that
    was paused is so no longer.
    """
    name = request.path_params["name"]
    if not re.fullmatch(SOURCE_NAME, name):
        raise Invalid(errors=[{"field": "path.name", "message": f"Must match {SOURCE_NAME}."}])
    body = await read_json(request, NewSource)
    spec = SourceSpec.model_validate(body.model_dump(by_alias=True, exclude={"headers"}))
    change = SourceChange(name=name, spec=spec, headers=body.headers)
    document = await call_service(request, SYNC.name, "put_source", change.model_dump(mode="json", by_alias=True))
    if mistakes := document.get("mistakes"):
        raise Invalid(errors=mistakes)
    return json_response(document, headers=await _remap(request, SourceAnswer.model_validate(document)))


async def _remap(request: Request, source: SourceAnswer) -> dict[str, str]:
    """Submit the job that maps anew, if that is needed. Returns the header fields of the answer."""
    if not source.remap:
        return {}
    principal = caller(request)
    job = NewJob(
        tenant=principal.tenant,
        created_by=principal.user,
        queue=SYNC.name,
        kind="remap",
        payload=RemapPayload(source=source.id).model_dump_json().encode(),
        timeout_s=RUN_WITHIN_S,
        trace=traceparent_of(request),
        unique_key=unique_key(source.id),
    )
    try:
        accepted = await state_of(request).dispatcher.accept(job)
    except Unavailable:  # the source is stored, and its next run begins with that
        return {}
    return {"Location": f"/v1/jobs/{public_id(accepted.id)}"}


async def show_source(request: Request) -> Response:
    """A source, and how its runs have gone. The values of its headers are not shown."""
    return json_response(await find_source(request, known_name(request)))


async def list_sources(request: Request) -> Response:
    """Sources by name."""
    wanted = read_query(request, NamePageQuery)
    arguments = {"after": wanted.cursor or None, "limit": wanted.limit}
    return json_response(await page_of_service(request, SYNC.name, "list_sources", arguments))


async def delete_source(request: Request) -> Response:
    """Delete a source and what it lists. 409: a run of it has not ended."""
    await call_service(request, SYNC.name, "delete_source", {"name": known_name(request)})
    return Response(status_code=204)


async def preview_source(request: Request) -> Response:
    """Read the first page of a source without writing anything.

    The result has 20 records as they would be written, what would change, and those that do not pass.
    """
    name = known_name(request)
    fields = await read_json(request, SourcePreview)
    source = await find_source(request, name)
    return await submit_sync(request, fields, "preview", PreviewPayload(source=source["id"]), None)


async def list_rejected_records(request: Request) -> Response:
    """Records of a source that did not pass, oldest first. They are kept for 30 days, or until a full run."""
    wanted = read_query(request, SourceRejectedQuery)
    arguments = {"name": known_name(request), "after": wanted.after, "limit": wanted.limit}
    return json_response(await page_of_service(request, SYNC.name, "list_rejected", arguments))


async def replay_rejected_records(request: Request) -> Response:
    """Map the records that did not pass anew, as after a change of the mapping. Nothing is fetched."""
    name = known_name(request)
    fields = await read_json(request, RejectedReplay)
    source = await find_source(request, name)
    return await submit_sync(request, fields, "replay", ReplayPayload(source=source["id"]), source["id"])


async def find_source(request: Request, name: str) -> dict[str, Any]:
    """A source of the caller's tenant. Raises NotFound."""
    return await call_service(request, SYNC.name, "get_source", {"name": name})


def known_name(request: Request) -> str:
    """The name in the path. Raises NotFound if no source can have it."""
    name: str = request.path_params["name"]
    if not re.fullmatch(SOURCE_NAME, name):
        raise NotFound("There is no such source.")
    return name


def unique_key(source: UUID | str) -> str:
    """What jobs of a source that write have in common: there is one at a time."""
    return f"source:{source}"


async def submit_sync(
    request: Request, fields: JobFields, kind: str, payload: BaseModel, unique: str | None
) -> Response:
    """Submit a job of the queue `sync`, alone of its kind for the source `unique`. Raises what `submit` raises."""
    text = payload.model_dump_json().encode()
    made = new_job(
        request,
        caller(request),
        fields if unique is None else fields.model_copy(update={"unique_for": unique_key(unique)}),
        job_id=new_id(),
        queue=SYNC.name,
        kind=kind,
        payload=text,
        fingerprint=hashlib.sha256(kind.encode() + text + fields.model_dump_json().encode()).digest(),
    )
    return await submit(request, made)

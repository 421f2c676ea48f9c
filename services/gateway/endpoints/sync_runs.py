"""POST /v1/sync, and schedules of it: fetch a source, and write what is new, has changed or has gone."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.sync import RunPayload, SourceName
from services.gateway.endpoints.recurrence import Recurrence
from services.gateway.endpoints.sources import SourceJobFields, find_source, submit_sync, unique_key
from services.gateway.http.json_io import read_json
from services.gateway.identity.scopes import Principal
from services.gateway.problems import Invalid, NotFound, invalid_fields


class RunOptions(BaseModel):
    """Which source is fetched, and how."""

    model_config = ConfigDict(extra="forbid")

    source: SourceName
    full: bool = False
    """Ask for everything, also of an incremental source, and whether or not it says that nothing has changed."""
    accept_shrink: bool = False
    """Let more be gone than the source's `max_gone_ratio` allows."""


class SyncSubmission(RunOptions, SourceJobFields):
    """The body of POST /v1/sync. A source has one run at a time: while there is one, that is the answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"source": "pa-grants"}]})


class RecurringRun(RunOptions):
    """The payload of a schedule of the queue `sync`."""


async def submit_run(request: Request) -> Response:
    """Fetch a source. The job's result says how many records are new, changed, unchanged, gone or rejected."""
    body = await read_json(request, SyncSubmission)
    try:
        source = await find_source(request, body.source)
    except NotFound as error:
        raise Invalid(errors=[{"field": "body.source", "message": str(error)}]) from error
    payload = RunPayload(source=source["id"], full=body.full, accept_shrink=body.accept_shrink)
    return await submit_sync(request, body, "run", payload, source["id"])


async def recurring_run(
    request: Request, _principal: Principal, _folder: str, payload: dict[str, Any]
) -> Recurrence:
    """A recurring run. Raises Invalid."""
    try:
        wanted = RecurringRun.model_validate(payload)
    except ValidationError as error:
        raise invalid_fields(error, within="body.payload") from error
    try:
        source = await find_source(request, wanted.source)
    except NotFound as error:
        raise Invalid(errors=[{"field": "body.payload.source", "message": str(error)}]) from error
    run = RunPayload(source=source["id"], full=wanted.full, accept_shrink=wanted.accept_shrink)
    return Recurrence("run", run.model_dump_json().encode(), unique_key=unique_key(source["id"]))

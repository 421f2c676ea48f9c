"""/v1/event-types: what events of a name must look like, and by what they can be broken down."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.analytics import (
    DIMENSIONS_AT_MOST,
    EVENT_NAME,
    EventTypeAnswer,
    EventTypeChange,
    PropertyName,
    RebuildPayload,
)
from libs.common.contracts.ids import public_id
from libs.common.contracts.services import ANALYTICS
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import NewJob
from services.gateway.endpoints.service_client import NamePageQuery, call_service, page_of_service
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.request_log import traceparent_of
from services.gateway.http.state import state_of
from services.gateway.problems import Invalid, NotFound


class NewEventType(BaseModel):
    """The body of PUT /v1/event-types/{name}."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "schema": {"type": "object", "properties": {"amount": {"type": "number"}}},
                    "dimensions": ["page"],
                    "value": "amount",
                }
            ]
        },
    )

    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """A JSON Schema (2020-12) of the events' `properties`."""
    dimensions: Annotated[tuple[PropertyName, ...], Field(max_length=DIMENSIONS_AT_MOST)] = ()
    """Properties to break counts down by."""
    value: PropertyName | None = None
    """The property to add up."""


async def put_event_type(request: Request) -> Response:
    """Say what events of a name look like. They need no type: without one they are counted, and not broken down.

    If the dimensions or the value change, the events that are kept are counted anew by a job, whose address is in
    `Location`; until then `rebuilt` is false.
    """
    name = request.path_params["name"]
    if not re.fullmatch(EVENT_NAME, name):
        raise Invalid(errors=[{"field": "path.name", "message": f"Must match {EVENT_NAME}."}])
    body = await read_json(request, NewEventType)
    change = EventTypeChange(name=name, **body.model_dump(by_alias=True))
    document = await call_service(
        request, ANALYTICS.name, "put_type", change.model_dump(mode="json", by_alias=True)
    )
    return json_response(document, headers=await _rebuild(request, EventTypeAnswer.model_validate(document)))


async def _rebuild(request: Request, changed: EventTypeAnswer) -> dict[str, str]:
    """Submit the job that counts anew, if that is needed. Returns the header fields of the answer."""
    if changed.rebuilt:
        return {}
    principal = caller(request)
    job = NewJob(
        tenant=principal.tenant,
        created_by=principal.user,
        queue=ANALYTICS.name,
        kind="rebuild",
        payload=RebuildPayload(event=changed.name).model_dump_json().encode(),
        trace=traceparent_of(request),
        unique_key=f"rebuild:{changed.name}:{changed.version}",
    )
    try:
        accepted = await state_of(request).dispatcher.accept(job)
    except Unavailable:  # the type is stored, and the worker's nightly job counts anew
        return {}
    return {"Location": f"/v1/jobs/{public_id(accepted.id)}"}


async def show_event_type(request: Request) -> Response:
    """An event type."""
    name = request.path_params["name"]
    if not re.fullmatch(EVENT_NAME, name):
        raise NotFound("There is no such event type.")
    return json_response(await call_service(request, ANALYTICS.name, "get_type", {"name": name}))


async def list_event_types(request: Request) -> Response:
    """Event types by name."""
    wanted = read_query(request, NamePageQuery)
    arguments = {"after": wanted.cursor or None, "limit": wanted.limit}
    return json_response(await page_of_service(request, ANALYTICS.name, "list_types", arguments))

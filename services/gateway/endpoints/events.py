"""/v1/events: takes events, and shows those that did not count."""

from functools import partial

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.analytics import Reason, ReplayPayload
from libs.common.contracts.ids import public_id
from libs.common.contracts.services import ANALYTICS
from services.gateway.endpoints.analytics_jobs import submit_analytics
from services.gateway.endpoints.event_bodies import EVENTS_BYTES_AT_MOST, MEDIA_TYPES, ReadEvents, read_events
from services.gateway.endpoints.service_client import NumberPageQuery, page_of_service
from services.gateway.endpoints.submission import JobFields
from services.gateway.engine.event_intake import Events
from services.gateway.http.admission import caller
from services.gateway.http.analytics_schemas import EventsAccepted
from services.gateway.http.json_io import (
    json_response,
    media_type_of,
    parse_in_turn,
    read_body,
    read_json,
    read_query,
)
from services.gateway.http.large_bodies import RoomForBody
from services.gateway.http.request_log import traceparent_of
from services.gateway.http.state import state_of


class RejectedListQuery(NumberPageQuery):
    """The query of GET /v1/events/rejected."""

    reason: Reason | None = None


class EventReplay(BaseModel):
    """The body of POST /v1/events/rejected/replay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "schema_violated"}]})

    reason: Reason | None = None
    """Only the events that were rejected for this reason."""


async def submit_events(request: Request) -> Response:
    """Send 1 to 1,000 events. Each counts once, however often it is sent.

    The answer comes when the events are stored. Events of several requests share a job, which checks and counts
    them: what it rejects is in GET /v1/events/rejected, and costs the others nothing. An event is the same as
    another one if it has the same `id` and falls on the same UTC day. The body may also be JSON lines or a batch
    of CloudEvents. A key whose only scope is `events:write` is public: it may stand in a page.
    """
    principal, state = caller(request), state_of(request)
    read = await _read(request, principal.tenant)
    events = Events(principal.tenant, principal.user, read.number, read.text, traceparent_of(request))
    job = public_id(await state.event_intake(events))
    document: EventsAccepted = {"accepted": read.number, "job": job}
    return json_response(document, 202, {"Location": f"/v1/jobs/{job}"})


async def _read(request: Request, tenant: str) -> ReadEvents:
    """The events in the body. Of a tenant, one body is read at a time, so that it does not delay the others."""
    async with RoomForBody(request) as room:
        body = await read_body(request, room, at_most=EVENTS_BYTES_AT_MOST, media_types=MEDIA_TYPES)
        async with state_of(request).event_intake.turn_of(tenant):
            return await parse_in_turn(partial(read_events, body, media_type_of(request)), len(body))


async def list_rejected(request: Request) -> Response:
    """Events that did not count, oldest first, each with the reason. They are kept for 30 days.

    Of a tenant 1,000 are kept, or one in a hundred of its events; `not_kept` counts the others.
    """
    wanted = read_query(request, RejectedListQuery)
    arguments = {"reason": wanted.reason, "after": wanted.after, "limit": wanted.limit}
    return json_response(await page_of_service(request, ANALYTICS.name, "list_rejected", arguments))


async def replay_rejected(request: Request) -> Response:
    """Count the rejected events that are right by now, such as after a change of their event type, in a job."""
    body = await read_json(request, EventReplay)
    payload = ReplayPayload(reason=body.reason).model_dump_json().encode()
    fields = JobFields(unique_for=f"replay:{body.reason or ''}")
    return await submit_analytics(request, fields, "replay", payload, payload)

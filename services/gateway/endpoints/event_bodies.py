"""The body of POST /v1/events in its three formats, read into events as the worker gets them.

The worker checks each event and rejects it by itself, so that a bad one does not cost the caller the others. Here
only the whole is refused: what is not JSON, or too much. What the ledger cannot store is replaced: NUL and half
characters in text, and numbers that are not finite, for which the worker rejects the event.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic_core import from_json, to_json

from libs.common.contracts.analytics import EVENTS_AT_MOST
from libs.common.errors import storable
from services.gateway.field_errors import not_json
from services.gateway.http import json_budgets
from services.gateway.http.json_budgets import EVENTS_DEPTH_AT_MOST, EVENTS_VALUES_AT_MOST
from services.gateway.http.json_io import TWICE
from services.gateway.http.json_members import repeated_members
from services.gateway.http.nul import nul_in_json
from services.gateway.problems import BadRequest, Invalid

EVENTS_BYTES_AT_MOST = 1024 * 1024
"""The size of a body with events."""
NOT_FINITE = 10**309
"""Stands for NaN and infinity: beyond the range of doubles, as what was sent."""

_EVENT: dict[str, Any] = {
    "id": "0198f0a1-7c00-7000-8000-00000000cafe",
    "name": "apply",
    "time": "2026-11-27T10:00:00Z",
    "subject": "u42",
    "properties": {"page": "/jobs", "amount": 12.5},
}
_CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "7",
    "source": "/shop",
    "type": "apply",
    "time": "2026-11-27T10:00:00Z",
    "subject": "u42",
    "data": {"page": "/jobs"},
}


class EventSubmission(BaseModel):
    """The body of POST /v1/events as application/json. What each event may be is in docs/analytics.md."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"events": [_EVENT]}]})

    events: Annotated[list[Any], Field(min_length=1, max_length=EVENTS_AT_MOST)]


class CloudEvents(RootModel[Annotated[list[Any], Field(min_length=1, max_length=EVENTS_AT_MOST)]]):
    """The body of POST /v1/events as application/cloudevents-batch+json (CloudEvents 1.0, JSON batch format)."""

    model_config = ConfigDict(json_schema_extra={"examples": [[_CLOUD_EVENT]]})


class ReadEvents(NamedTuple):
    """The number of events, and the JSON of each with commas between them."""

    number: int
    text: bytes


def read_events(body: bytes, media_type: str) -> ReadEvents:
    """The events in `body`. Raises BadRequest, TooLarge, Invalid."""
    events = _READERS[media_type](body)
    if not 1 <= len(events) <= EVENTS_AT_MOST:
        message = f"1 to {EVENTS_AT_MOST:,} events; there are {len(events):,}."
        raise Invalid(errors=[{"field": "body.events", "message": message}])
    return ReadEvents(len(events), to_json(events)[1:-1])


def _from_object(body: bytes) -> list[Any]:
    document = _parse(body)
    if not isinstance(document, dict):
        raise Invalid(errors=[{"field": "body", "message": "An object with `events` is needed."}])
    if body.count(b'"events"') > 1 and "events" in repeated_members(body):  # those of the first would be lost
        raise Invalid(errors=[{"field": "body.events", "message": TWICE}])
    wrong = [
        {"field": f"body.{name}"[:200], "message": "There is no such field."}
        for name in document
        if name != "events"
    ]
    events = document.get("events")
    if not isinstance(events, list):
        wrong.append({"field": "body.events", "message": "A list of events is needed."})
    if wrong:
        raise Invalid(errors=wrong[:100])
    return list(events or ())


def _from_lines(body: bytes) -> list[Any]:
    """An event a line. A line that is no JSON is an event that the worker rejects, unless none is JSON."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > EVENTS_AT_MOST:
        return lines
    with suppress(BadRequest):  # then each line is read by itself, to find those that are JSON
        events = _parse(b"[" + b",".join(lines) + b"]")
        if len(events) == len(lines):
            return list(events)
    read = [_line(line) for line in lines]
    if not any(is_json for is_json, _ in read):
        raise BadRequest("The body has no line of JSON.")
    return [event for _, event in read]


def _line(line: bytes) -> tuple[bool, Any]:
    try:
        return True, _parse(line)
    except BadRequest:
        return False, storable(line.decode(errors="replace"))


def _from_cloud_events(body: bytes) -> list[Any]:
    document = _parse(body)
    if not isinstance(document, list):
        raise Invalid(errors=[{"field": "body", "message": "A list of CloudEvents is needed."}])
    return [_from_cloud_event(event) if isinstance(event, dict) else event for event in document]


def _from_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """The same event as others are; what it lacks is missing there too. Source and id together identify it."""
    names = {"type": "name", "time": "time", "subject": "subject", "data": "properties"}
    made = {names[name]: value for name, value in event.items() if name in names}
    source, id_ = event.get("source"), event.get("id")
    if isinstance(source, str) and isinstance(id_, str):
        made["id"] = f"{source}/{id_}"
        if made.get("time") is None and (moment := _time_of(id_)):
            made["time"] = moment
    return made


def _time_of(id_: str) -> str | None:
    """The time in a UUIDv7, which the worker does not see behind the source."""
    try:
        uuid = UUID(id_)
        return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC).isoformat() if uuid.version == 7 else None
    except ValueError:
        return None


_READERS: Mapping[str, Callable[[bytes], list[Any]]] = {
    "application/json": _from_object,
    "application/x-ndjson": _from_lines,
    "application/cloudevents-batch+json": _from_cloud_events,
}
MEDIA_TYPES = tuple(_READERS)
"""The formats of a body with events."""


def _parse(text: bytes) -> Any:
    """`text` as JSON that the ledger can store. Raises BadRequest, TooLarge."""
    with suppress(BadRequest, ValueError):  # not finite, a half character, or no JSON: what follows tells
        json_budgets.check(
            text, within="body", values_at_most=EVENTS_VALUES_AT_MOST, depth_at_most=EVENTS_DEPTH_AT_MOST
        )
        if not nul_in_json(text):
            return from_json(text, allow_inf_nan=False)
    try:
        return _replaced(json.loads(text.decode()))
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {not_json(error)}") from error


def _replaced(value: Any) -> Any:
    """`value` with something else in the place of what cannot be stored."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _replaced(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    return NOT_FINITE if isinstance(value, float) and not isfinite(value) else value

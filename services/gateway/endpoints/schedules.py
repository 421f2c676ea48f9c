"""/v1/schedules: recurring jobs. A schedule's `payload` is validated for its queue when it is created."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ids import parse_id, public_id
from libs.common.errors import ArgosyError
from libs.common.ledger import retention, schedules
from libs.common.ledger.jobs import new_id
from libs.common.ledger.making import MadeBefore, OtherRequest
from libs.common.ledger.schedules import BadCron, CatchUp, NameTaken, TooManySchedules
from services.gateway.endpoints.exports import RecurringExport, recurring_export
from services.gateway.endpoints.letters import AddressedLetter
from services.gateway.endpoints.mail import recurring_letter
from services.gateway.endpoints.ocr import RecurringDocument, recurring_document
from services.gateway.endpoints.recurrence import Recurrence
from services.gateway.endpoints.submission import JobFields, as_requested, submit
from services.gateway.endpoints.sync_runs import RecurringRun, recurring_run
from services.gateway.http.admission import caller, charge_user
from services.gateway.http.idempotency import idempotency_headers, once
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.schemas import ListedSchedule, Schedule
from services.gateway.http.state import state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import Conflict, Invalid, NotFound

PREVIEWED = 5

Recurring = Callable[[Request, Principal, str, dict[str, Any]], Awaitable[Recurrence]]
RECURRING: dict[str, Recurring] = {
    "ocr": recurring_document,
    "mailer": recurring_letter,
    "sync": recurring_run,
    "exporter": recurring_export,
}
"""For each queue: turns a schedule's payload into what its jobs have. Files go into the given folder."""
CHARGES = {"ocr": "ocr", "mailer": "api", "sync": "api", "exporter": "exports"}
"""For each queue: the policy that charges a manual run, the same as for a submission."""


def _five_fields(cron: str) -> str:
    if len(cron.split()) != 5:
        raise ValueError("Five fields are needed: minute, hour, day of month, month and day of week.")
    return cron


Cron = Annotated[
    str, Field(min_length=9, max_length=200, json_schema_extra={"format": "cron"}), AfterValidator(_five_fields)
]
TimeZone = Annotated[str, Field(json_schema_extra={"format": "timezone"})]


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("Not a time zone of the IANA database, such as Europe/Berlin.") from error
    return name


NOT_MADE = (NameTaken, TooManySchedules, MadeBefore, OtherRequest)
"""Why a request has not made a schedule. After any other error it may have."""
PAYLOADS: dict[str, type[BaseModel]] = {
    "ocr": RecurringDocument,
    "mailer": AddressedLetter,
    "sync": RecurringRun,
    "exporter": RecurringExport,
}

WITH_OWN_KEY = ("sync",)
"""Queues whose jobs have a `unique_for` that the caller cannot choose."""


def _by_queue(schema: dict[str, Any]) -> None:
    """Add each queue's payload schema, for /openapi.json, where the models inside are components of their own."""
    kinds: list[dict[str, Any]] = []
    for queue, model in PAYLOADS.items():
        payload = model.model_json_schema(ref_template="#/components/schemas/{model}")
        payload.pop("$defs", None)
        payload.pop("examples", None)
        kinds.append({"properties": {"queue": {"const": queue}, "payload": payload}})
        if queue in WITH_OWN_KEY:
            kinds[-1]["properties"]["unique_for"] = {"type": "null"}
    schema["anyOf"] = kinds


class NewSchedule(JobFields):
    """The body of POST /v1/schedules: when to run, the payload, and the fields of its jobs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_by_queue)

    run_at: None = Field(default=None, exclude=True)
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
    queue: Annotated[str, Field(json_schema_extra={"enum": list(RECURRING)})]
    payload: dict[str, Any]
    cron: Cron
    timezone: TimeZone = "UTC"
    catch_up: CatchUp = CatchUp.ONE

    _timezone = field_validator("timezone")(_known_timezone)

    @field_validator("queue")
    @classmethod
    def _can_recur(cls, queue: str) -> str:
        if queue not in RECURRING:
            raise ValueError(f"Recurring jobs are possible for: {', '.join(RECURRING)}.")
        return queue


class ScheduleUpdate(BaseModel):
    """The body of PATCH /v1/schedules/{id}. A missing field stays as it is."""

    model_config = ConfigDict(extra="forbid")

    cron: Cron | None = None
    timezone: TimeZone | None = None
    catch_up: CatchUp | None = None
    paused: bool | None = None

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, name: str | None) -> str | None:
        return None if name is None else _known_timezone(name)


class ScheduleListQuery(BaseModel):
    """The query of GET /v1/schedules."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(pattern="^schedule_[0-9a-f]{32}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


async def create_schedule(request: Request) -> Response:
    """Create a schedule. Its name must be unique in the tenant."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, NewSchedule)
    repeatable = once(request, body)
    schedule = new_id()
    upcoming(body.cron, body.timezone)
    folder = _folder(principal.tenant, schedule)
    await retention.announce_upload(state.database, schedule, folder)
    recurrence = await RECURRING[body.queue](request, principal, folder, body.payload)
    try:
        facts = await schedules.create(
            state.database,
            principal.tenant,
            principal.user,
            schedule=schedule,
            name=body.name,
            queue=body.queue,
            kind=recurrence.kind,
            payload=recurrence.payload,
            fields=_fields(body, recurrence),
            cron=body.cron,
            timezone=body.timezone,
            catch_up=body.catch_up,
            once=repeatable,
        )
    except NOT_MADE as error:
        await state.blobs.discard(folder)
        facts = await _made_before(request, principal, error)
    document = _with_payload(facts)
    headers = idempotency_headers(request, is_repeat=facts["id"] != schedule)
    return json_response(document, 201, {"Location": f"/v1/schedules/{document['id']}", **headers})


async def _made_before(request: Request, principal: Principal, error: ArgosyError) -> dict[str, Any]:
    """The schedule that this request has made before. Raises why it has made none."""
    if isinstance(error, NameTaken | TooManySchedules):
        raise Conflict(str(error)) from error
    if not isinstance(error, MadeBefore):
        raise error
    facts = await schedules.find(state_of(request).database, principal.tenant, UUID(error.made))
    if facts is None:
        raise Conflict("The schedule that this request created before has been removed.") from error
    return facts


def _fields(body: NewSchedule, recurrence: Recurrence) -> dict[str, Any]:
    """The fields of the schedule's jobs. Raises Invalid."""
    fields = body.model_dump(mode="json", include=set(JobFields.model_fields) - {"run_at"})
    if recurrence.unique_key is None:
        return fields
    if body.unique_for is not None:
        message = "Jobs of this queue have a key of their own."
        raise Invalid(errors=[{"field": "body.unique_for", "message": message}])
    return fields | {"unique_for": recurrence.unique_key}


async def list_schedules(request: Request) -> Response:
    """The tenant's schedules, oldest first, in pages. Their payloads are not listed."""
    principal = caller(request)
    wanted = read_query(request, ScheduleListQuery)
    after = parse_id(wanted.cursor, "schedule") if wanted.cursor else None
    found = await schedules.page(state_of(request).database, principal.tenant, after=after, limit=wanted.limit + 1)
    page = [_listed(facts) for facts in found[: wanted.limit]]
    more = len(found) > wanted.limit
    return json_response({"schedules": page, "next_cursor": page[-1]["id"] if more else None})


async def show_schedule(request: Request) -> Response:
    """One schedule, and when it fires next."""
    principal = caller(request)
    return json_response(_with_payload(await _find(request, principal)))


async def change_schedule(request: Request) -> Response:
    """Change when a schedule fires, or pause or resume it. Runs missed while it was paused are not made up."""
    principal = caller(request)
    facts = await _find(request, principal)
    body = await read_json(request, ScheduleUpdate)
    wanted = {name: facts[name] for name in ("cron", "timezone", "catch_up")}
    wanted |= body.model_dump(exclude={"paused"}, exclude_none=True)
    upcoming(wanted["cron"], wanted["timezone"])
    paused = facts["paused_at"] is not None if body.paused is None else body.paused
    changed = await schedules.change(
        state_of(request).database, principal.tenant, facts["id"], **wanted, paused=paused
    )
    if changed is None:
        raise NotFound("There is no such schedule.")
    return json_response(_with_payload(changed))


async def delete_schedule(request: Request) -> Response:
    """Delete a schedule. The jobs that it has created stay."""
    principal, state = caller(request), state_of(request)
    facts = await _find(request, principal)
    await schedules.delete(state.database, principal.tenant, facts["id"])
    await retention.mark_schedule_folder(state.database, _folder(principal.tenant, facts["id"]), facts["id"])
    return Response(status_code=204)


async def run_schedule(request: Request) -> Response:
    """Create the schedule's job now, even if it is not due or is paused."""
    principal = caller(request)
    facts = await _find(request, principal)
    job = schedules.job_of(facts, to_json(facts["payload"]), principal.tenant, principal.user, new_id())
    await charge_user(request, CHARGES[facts["queue"]])
    return await submit(request, as_requested(request, job, facts["id"].bytes))


async def _find(request: Request, principal: Principal) -> dict[str, Any]:
    schedule = parse_id(request.path_params["id"], "schedule")
    facts = schedule and await schedules.find(state_of(request).database, principal.tenant, schedule)
    if not facts:
        raise NotFound("There is no such schedule.")
    return facts


def upcoming(cron: str, timezone: str) -> list[datetime]:
    """The next times to fire. Raises Invalid."""
    try:
        return schedules.upcoming(cron, timezone, PREVIEWED)
    except BadCron as error:
        raise Invalid(errors=[{"field": "body.cron", "message": str(error)}]) from error


def _folder(tenant: str, schedule: UUID) -> str:
    return f"schedules/{tenant}/{schedule.hex}"


def _with_payload(facts: dict[str, Any]) -> Schedule:
    payload = {name: value for name, value in facts["payload"].items() if name != "source"}
    return {**_listed(facts), "payload": payload}


def _listed(facts: dict[str, Any]) -> ListedSchedule:
    fields = facts["fields"]
    return {
        "id": public_id(facts["id"], "schedule"),
        "name": facts["name"],
        "queue": facts["queue"],
        "kind": facts["kind"],
        "cron": facts["cron"],
        "timezone": facts["timezone"],
        "catch_up": facts["catch_up"],
        "created_at": facts["created_at"],
        "last_at": facts["last_at"],
        "missed": facts["missed"],
        "paused": facts["paused_at"] is not None,
        "next": [] if facts["paused_at"] else upcoming(facts["cron"], facts["timezone"]),
        "priority": fields["priority"],
        "max_attempts": fields["max_attempts"],
        "timeout_s": fields["timeout_s"],
        "unique_for": fields["unique_for"],
        "tags": fields["tags"],
    }

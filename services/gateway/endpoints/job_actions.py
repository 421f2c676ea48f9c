"""Cancel, retry and remove: one job, or (but for removing) all jobs that match a filter."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from libs.common import metrics
from libs.common.blobs import job_folder
from libs.common.contracts.events import cancel_subject, encode_cancels
from libs.common.contracts.ids import parse_id, public_id
from libs.common.contracts.moments import Moment
from libs.common.contracts.services import OCR, QUEUES_THAT_DO_WHAT_IS_LEFT
from libs.common.contracts.whole_numbers import WHOLE
from libs.common.ledger import bulk_retries, job_actions, jobs, retention
from libs.common.ledger.bulk_retries import TooManyReplays
from libs.common.ledger.job_actions import Cancelled, UniqueKeyTaken
from libs.common.ledger.jobs import Filter, JobFacts, State
from libs.common.ledger.making import MadeBefore
from services.gateway.endpoints.job_document import job_document
from services.gateway.endpoints.jobs import find_job
from services.gateway.endpoints.passwords import Password, sealed
from services.gateway.http.admission import caller
from services.gateway.http.idempotency import idempotency_headers, once
from services.gateway.http.json_io import Text, json_response, read_json, read_json_if_any, read_query
from services.gateway.http.state import base_of, state_of
from services.gateway.identity.scopes import Principal
from services.gateway.problems import Conflict, NotFound


class JobFilter(BaseModel):
    """Which jobs to act on. At least one field must be given, so that an empty filter never means all jobs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    queue: Text | SkipJsonSchema[None] = None
    kind: Text | SkipJsonSchema[None] = None
    state: State | SkipJsonSchema[None] = None
    tag: Text | SkipJsonSchema[None] = None
    error_code: Text | SkipJsonSchema[None] = None
    created_before: Moment | SkipJsonSchema[None] = None
    created_after: Moment | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("Leave a field out instead of sending null.")
        if not self.model_fields_set:
            raise ValueError("An empty filter would match every job. Give at least one field.")
        return self

    def among(self, states: tuple[State, ...]) -> Filter:
        """As a filter over jobs in one of `states`. If `state` is not one of them, nothing matches."""
        wanted = states if self.state is None else (self.state,) if self.state in states else ()
        given = self.model_dump(exclude={"state"})
        return Filter(states=wanted, **given)


class BulkCancel(BaseModel):
    """The body of POST /v1/jobs/cancel."""

    model_config = ConfigDict(extra="forbid")

    filter: JobFilter
    dry_run: bool = False


class BulkRetry(BulkCancel):
    """The body of POST /v1/jobs/retry."""

    rate: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Jobs released per second; None releases all at once."""
    stop_after: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    """Stop the replay if this many jobs fail again before the first one has succeeded."""


class RetryQuery(BaseModel):
    """The query of POST /v1/jobs/{id}/retry."""

    model_config = ConfigDict(extra="forbid")

    on_unknown: Literal["keep", "resend"] = "keep"
    """Of a letter: whether recipients that may have it already (`unknown`) get it again."""


class Retry(BaseModel):
    """The body of POST /v1/jobs/{id}/retry, which may be left out."""

    model_config = ConfigDict(extra="forbid")

    password: Password | None = None
    """Of an encrypted document: the one given with it went when its job ended."""


async def cancel_job(request: Request) -> Response:
    """Cancel a job. 200: it was waiting and is cancelled. 202: it runs and was told to stop. 409: it has ended."""
    principal, state = caller(request), state_of(request)
    facts = await find_job(request)
    cancelled = await job_actions.cancel(state.database, principal.tenant, facts["id"])
    if not cancelled:
        raise Conflict(f"The job has ended already: it is {facts['state']}.")
    await _tell_workers(request, cancelled)
    now = await find_job(request)
    return json_response(job_document(now, base_of(request)), 200 if now["finished_at"] else 202)


async def retry_job(request: Request) -> Response:
    """Queue a failed or cancelled job again, with all its attempts; a letter also if it has succeeded.

    A letter is then sent to those whom it has not reached. 409: the job is in another state.
    """
    principal, state = caller(request), state_of(request)
    wanted, body = read_query(request, RetryQuery), await read_json_if_any(request, Retry)
    facts = await find_job(request)
    if body.password is not None and facts["queue"] != OCR.name:
        raise Conflict("Only jobs of documents take a password.")
    try:
        retried = await job_actions.retry(
            state.database,
            principal.tenant,
            facts["id"],
            in_doubt=wanted.on_unknown == "resend",
            if_succeeded=facts["queue"] in QUEUES_THAT_DO_WHAT_IS_LEFT,
            secret=sealed(request, body.password, principal.tenant, facts["id"], within="body"),
        )
    except UniqueKeyTaken as error:
        raise Conflict(str(error)) from error
    if facts["parent"] is not None:
        raise Conflict(f"It is a child of {public_id(facts['parent'])}: retry that job.")
    if not retried and facts["state"] in job_actions.RETRYABLE:
        raise Conflict("Some of its children are still stopping: try again in a moment.")
    if not retried:
        raise Conflict(f"Only a failed or cancelled job can be retried; this one is {facts['state']}.")
    return json_response(job_document(await find_job(request), base_of(request)), 202)


async def remove_job(request: Request) -> Response:
    """Remove a job that has ended, with its children and all files. If there is no such job, it is 204 too.

    409: it has not ended, or it is a child. The Idempotency-Key that made it is forgotten.
    """
    principal, state = caller(request), state_of(request)
    job_id = parse_id(request.path_params["id"])
    if job_id is None:
        raise NotFound("There is no such job.")
    if await retention.remove_ended_job(state.database, principal.tenant, job_id):
        metrics.jobs_removed.labels("request").inc()
        await state.blobs.discard(job_folder(principal.tenant, job_id))  # what is left of it, Retention removes
    elif facts := await jobs.find(state.database, principal.tenant, job_id):
        raise Conflict(_why_not_removed(facts))
    return Response(status_code=204)


def _why_not_removed(facts: JobFacts) -> str:
    if facts["parent"] is not None:
        return f"It is a child of {public_id(facts['parent'])}: remove that job."
    if facts["finished_at"] is not None:
        return "Some of its children are still stopping: try again in a moment."
    return f"Only a job that has ended can be removed; this one is {facts['state']}: cancel it first."


async def cancel_jobs(request: Request) -> Response:
    """Cancel all jobs that match the filter. `dry_run` only counts them."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, BulkCancel)
    wanted = body.filter.among(job_actions.LIVE)
    if body.dry_run:
        return await _counted(request, principal, wanted)
    ended = running = 0
    while wanted.states and (cancelled := await job_actions.cancel_some(state.database, principal.tenant, wanted)):
        await _tell_workers(request, cancelled)
        whole = [job for job in cancelled if job.parent is None]
        stopping = sum(job.state == State.RUNNING for job in whole)
        ended, running = ended + len(whole) - stopping, running + stopping
    return json_response({"cancelled": ended, "cancelling": running}, 202 if running else 200)


async def retry_jobs(request: Request) -> Response:
    """Retry all jobs that match the filter, at `rate`; `stop_after` may end it early. `dry_run` only counts."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, BulkRetry)
    wanted = body.filter.among(job_actions.RETRYABLE)
    if body.dry_run:
        return await _counted(request, principal, wanted)
    replay, is_repeat = await _start_replay(request, wanted, body)
    if replay is None:
        return json_response({"matched": 0}, 200)
    headers = {"Location": f"/v1/replays/{public_id(replay, 'replay')}"}
    headers |= idempotency_headers(request, is_repeat=is_repeat)
    facts = await bulk_retries.find(state.database, principal.tenant, replay)
    return json_response(_replay_document(facts or {}), 202, headers)


async def _start_replay(request: Request, wanted: Filter, body: BulkRetry) -> tuple[UUID | None, bool]:
    """The replay that the request starts, or has started before, and whether it has. None: no job matches."""
    principal, repeatable = caller(request), once(request, body)
    if not wanted.states:
        return None, False
    try:
        replay = await bulk_retries.start(
            state_of(request).database,
            principal.tenant,
            principal.user,
            wanted,
            rate=body.rate,
            stop_after=body.stop_after,
            once=repeatable,
        )
    except MadeBefore as before:
        return UUID(before.made), True
    except TooManyReplays as error:
        raise Conflict(str(error)) from error
    return replay, False


async def show_replay(request: Request) -> Response:
    """The state of a bulk retry."""
    principal = caller(request)
    return json_response(_replay_document(await _find_replay(request, principal)))


async def cancel_replay(request: Request) -> Response:
    """Cancel a bulk retry: no more of its jobs are released."""
    principal = caller(request)
    facts = await _find_replay(request, principal)
    if not await bulk_retries.stop(state_of(request).database, principal.tenant, facts["id"]):
        raise Conflict(f"The replay has ended already: it is {facts['state']}.")
    return json_response(_replay_document(await _find_replay(request, principal)))


async def _find_replay(request: Request, principal: Principal) -> dict[str, Any]:
    replay = parse_id(request.path_params["id"], "replay")
    facts = replay and await bulk_retries.find(state_of(request).database, principal.tenant, replay)
    if not facts:
        raise NotFound("There is no such replay.")
    return facts


async def _tell_workers(request: Request, cancelled: list[Cancelled]) -> None:
    by_queue: dict[str, list[Any]] = {}
    for job in cancelled:
        if job.state == State.RUNNING:
            by_queue.setdefault(job.queue, []).append(job.id)
    for queue, ids in by_queue.items():
        await state_of(request).bus.publish(cancel_subject(queue), encode_cancels(ids))
    state_of(request).job_updates.refresh([job.id for job in cancelled])


async def _counted(request: Request, principal: Principal, wanted: Filter) -> Response:
    empty = {"matched": 0, "oldest": None, "newest": None}
    database = state_of(request).database
    return json_response(await job_actions.count(database, principal.tenant, wanted) if wanted.states else empty)


def _replay_document(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"id": public_id(facts["id"], "replay")}

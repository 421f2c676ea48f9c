"""/v1/queues: list, pause, resume and cap queues. For operators, because a queue belongs to all tenants."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.services import QUEUES
from libs.common.contracts.whole_numbers import WHOLE
from libs.common.ledger import queues
from services.gateway.http.json_io import json_response, read_json
from services.gateway.http.schemas import Queue
from services.gateway.http.state import state_of
from services.gateway.problems import NotFound


class QueueCapsUpdate(BaseModel):
    """The body of PATCH /v1/queues/{name}. A missing field stays as it is; null removes the cap."""

    model_config = ConfigDict(extra="forbid")

    max_running: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    max_running_per_tenant: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None


async def list_queues(request: Request) -> Response:
    """All queues: depth by state, oldest waiting job, rate, workers."""
    found = await queues.overview(state_of(request).database, list(QUEUES))
    return json_response({"queues": [_queue_document(facts) for facts in found]})


async def pause_queue(request: Request) -> Response:
    """Start no more jobs of this queue. Running jobs go on."""
    name = _named(request)
    await queues.pause(state_of(request).database, name)
    state_of(request).dispatcher.close_fast_path(name)
    return await _shown(request, name)


async def resume_queue(request: Request) -> Response:
    """Start jobs of a paused queue again."""
    name = _named(request)
    await queues.resume(state_of(request).database, name)
    return await _shown(request, name)


async def cap_queue(request: Request) -> Response:
    """Limit how many jobs of this queue may run at once: over all workers, and for one tenant."""
    name = _named(request)
    caps = await read_json(request, QueueCapsUpdate)
    for cap in ("max_running", "max_running_per_tenant"):
        if cap in caps.model_fields_set:
            await queues.set_cap(state_of(request).database, name, cap, getattr(caps, cap))
    state_of(request).dispatcher.close_fast_path(name)
    return await _shown(request, name)


def _named(request: Request) -> str:
    name: str = request.path_params["name"]
    if name not in QUEUES:
        raise NotFound("There is no such queue.")
    return name


async def _shown(request: Request, name: str) -> Response:
    (facts,) = await queues.overview(state_of(request).database, [name])
    return json_response(_queue_document(facts))


def _queue_document(facts: dict[str, Any]) -> Queue:
    return {
        "name": facts["name"],
        "depth": {
            "scheduled": facts["scheduled"],
            "queued": facts["queued"],
            "running": facts["running"],
            "waiting": facts["waiting"],
        },
        "paused_at": facts["paused_at"],
        "max_running": facts["max_running"],
        "max_running_per_tenant": facts["max_running_per_tenant"],
        "workers": facts["workers"],
        "slots": facts["slots"],
        "worker_seen_at": facts["worker_seen_at"],
        "oldest_waiting_at": facts["oldest_waiting_at"],
        "ended_last_minute": facts["ended_last_minute"],
    }

"""/livez and /readyz on the public port."""

from math import isfinite

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.http.state import state_of

DISPATCHED_WITHIN_S = 15.0
"""A dispatcher that can reach its servers succeeds several times a second."""


async def alive(_request: Request) -> Response:
    """The event loop runs. Contacts no other server."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Whether accepted jobs reach their workers, and what is known of the servers beneath.

    Who distributes requests asks the probe port instead: without a server beneath, this gateway still answers.
    """
    state = state_of(request)
    last_success_s = state.dispatcher.last_success_s
    is_ready = last_success_s < DISPATCHED_WITHIN_S and not state.draining.is_set()
    facts = {
        "ready": is_ready,
        "version": state.settings.argosy_version,
        **await state.readiness.check(),
        "redis_eviction": state.limiter.eviction,
        "nats": state.bus.connected,
        "storage": state.blobs.available,
        "limits": state.limiter.mode.value,
        "dispatcher": {"last_success_s": int(last_success_s) if isfinite(last_success_s) else None},
    }
    return JSONResponse(facts, status_code=200 if is_ready else 503)

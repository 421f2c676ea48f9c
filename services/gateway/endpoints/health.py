"""/livez and /readyz on the public port."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.http.state import state_of


async def alive(_request: Request) -> Response:
    """The event loop runs. Contacts no other server."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Whether requests can be served, which needs only the ledger. The other fields are for the operator."""
    state = state_of(request)
    database, redis = await state.readiness.check()
    parts = {"postgres": database, "redis": redis, "nats": state.bus.connected, "limits": state.limiter.mode.value}
    parts |= {"storage": state.blobs.available}
    serving = database and not state.draining.is_set()
    return JSONResponse({"ready": serving, **parts}, status_code=200 if serving else 503)

"""One log line and one measurement a request; a request id and a trace id for each."""

import re
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import log, metrics

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

logger = log.get("access")


def traceparent_of(request: Request) -> str:
    """The W3C traceparent of this request: the caller's, or one of our own."""
    traceparent: str = request.scope["argosy.traceparent"]
    return traceparent


class Access:
    """ASGI middleware. The line has the path, never the query or a header: they may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on, and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        traceparent = sent if _TRACEPARENT.fullmatch(sent) else _new_traceparent()
        scope["argosy.traceparent"] = traceparent
        request_id = f"req_{secrets.token_hex(12)}"
        status = 500
        started = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        finally:
            _record(scope, status, time.perf_counter() - started, request_id, traceparent)


def _record(scope: Scope, status: int, seconds: float, request_id: str, traceparent: str) -> None:
    # The endpoint's name, not the path: one time series each, whatever callers make up.
    route = getattr(scope.get("endpoint"), "__name__", "unknown")
    metrics.http_requests.labels(scope["method"], route, str(status)).inc()
    metrics.http_request_seconds.labels(scope["method"], route).observe(seconds)
    if route in ("alive", "ready"):
        return
    logger.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 2),
        request_id=request_id,
        trace_id=log.trace_id_of(traceparent),
    )


def _new_traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

"""Middleware of every request: request id, trace id, header fields of the response, request log and metrics."""

import re
import time
from functools import lru_cache
from http import HTTPStatus

from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import log, metrics, tracing
from libs.common.errors import message_of
from services.gateway.http.state import asked_of, base_of, state_of
from services.gateway.problems import InternalError, render

_TRACEPARENT = re.compile(r"00-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
]
_UNLESS_SET = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""Responses are private data, not pages, unless they set other values (OWASP ASVS 5.0, 14.3.2 and 3.4)."""

PROBES = ("alive", "ready")
"""Routes that are asked every second and say nothing."""

logger = log.get("request_log")


def traceparent_of(request: Request) -> str:
    """The W3C traceparent of this request: the caller's trace or a new one, with a span of its own."""
    traceparent: str = request.scope["argosy.traceparent"]
    return traceparent


class RequestLog:
    """ASGI middleware. The log line has the path, never the query or a header, which may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on, then log and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"").decode("latin-1")
        scope["argosy.traceparent"] = traceparent = _traceparent(sent)
        trace = log.Trace.of(traceparent)
        span = _span(traceparent, sent) if tracing.is_sampled(traceparent) else None
        status = 0
        started = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if status:
                    raise _ResponseCut
                status = message["status"]
                message["headers"] = _completed(message["headers"], scope, trace.request_id)
                if state_of(scope).draining.is_set():  # the next request goes to another gateway
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except _ResponseCut as cut:
            why = message_of(cut.__context__ or cut)
            logger.warning("response.cut", path=scope["path"], error=why, **trace._asdict())
            await _break_off(scope, receive)
        except Exception:  # a bug: the traceback goes to the log, not to the caller
            logger.exception("request.bug", **trace._asdict())
            if status:
                raise  # part of the response is sent, so the connection must break
            await render(InternalError(), asked_of(scope))(scope, receive, send_marked)
        finally:
            _record(scope, status or 499, time.perf_counter() - started, trace)
            if span is not None:
                _end(span, scope, status or 499)


class _ResponseCut(Exception):
    """A foreseen error, which is the context of this one, came when the response had begun."""


async def _break_off(scope: Scope, receive: Receive) -> None:
    """Reset the connection, so that the caller does not take what it has for the whole."""
    scope["argosy.reset"]()
    while (await receive())["type"] != "http.disconnect":
        pass


def _completed(headers: list[tuple[bytes, bytes]], scope: Scope, request_id: str) -> list[tuple[bytes, bytes]]:
    present = {name for name, _ in headers}
    if b"location" in present:
        base = base_of(scope).encode()
        headers = [(name, base + value if name == b"location" else value) for name, value in headers]
    headers = [*headers, (b"x-request-id", request_id.encode()), *_ALWAYS]
    headers += [field for field in _UNLESS_SET if field[0] not in present]
    rate_limits: list[tuple[bytes, bytes]] = scope.get("argosy.headers", [])
    return headers + rate_limits


def _route(scope: Scope) -> str:
    """The endpoint's name, not the path, so that callers cannot create time series."""
    name: str = getattr(scope.get("endpoint"), "__name__", "unknown")
    return name


def _record(scope: Scope, status: int, seconds: float, trace: log.Trace) -> None:
    route = _route(scope)
    count, measure = _metrics_of(scope["method"], route, status)
    count.inc()
    measure.observe(seconds)
    if route in PROBES:
        return
    principal = scope.get("argosy.caller")
    log.line(
        part="request_log",
        event="request",
        level="info",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(seconds * 1000, 2),
        caller=principal and principal.user,
        tenant=principal and principal.tenant,
        request_id=trace.request_id,
        trace_id=trace.trace_id,
    )


@lru_cache(maxsize=1024)
def _metrics_of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    seconds = metrics.http_request_seconds.labels(method, route)
    return metrics.http_requests.labels(method, route, str(status)), seconds


def _traceparent(sent: str) -> str:
    """The trace sent by the caller, or a new one, with a new span (https://www.w3.org/TR/trace-context/)."""
    found = _TRACEPARENT.fullmatch(sent)
    if found is None:
        return tracing.new_traceparent()
    trace_id, flags = found.groups()
    return f"00-{trace_id}-{tracing.new_span_id()}-{flags}"


def _span(traceparent: str, sent: str) -> tracing.Span:
    """The span of this request. Its id is the request's."""
    is_callers = _TRACEPARENT.fullmatch(sent) is not None
    parent_id = tracing.Place.of(sent).span_id if is_callers else None
    span = tracing.Span("request", tracing.Kind.SERVER, tracing.Place.of(traceparent), parent_id=parent_id)
    tracing.enter(span)
    return span


def _end(span: tracing.Span, scope: Scope, status: int) -> None:
    tracing.enter(None)
    route = _route(scope)
    if route in PROBES:
        return
    span.name = f"{scope['method']} {route}"
    span.failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    principal = scope.get("argosy.caller")
    span.attributes |= {"http.request.method": scope["method"], "http.route": route}
    span.attributes |= {"http.response.status_code": status}
    span.set(caller_kind=principal and ("public" if principal.is_public else principal.role.value))
    span.end()

"""Which pages of other origins may call the API: those of CORS_ORIGINS; and all pages, with a public key.

A page first asks without a key (the preflight). So every page is told that it may call the operations that take
public keys. The key that it then sends decides whether it may read the answer.
"""

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.http.admission import charge_stranger
from services.gateway.http.state import asked_of
from services.gateway.problems import LimitExceeded, response_to

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENT = (
    "Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Last-Event-ID", "Range", "If-Range",
    "If-None-Match", "traceparent",
)  # fmt: skip
EXPOSED = (
    "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "ETag", "Accept-Ranges",
    "Content-Range", "Content-Disposition", "Idempotency-Replayed", "Idempotency-Max-Age", "Unique-For-Joined",
    "Preference-Applied", "WWW-Authenticate",
)  # fmt: skip
"""The header fields that pages may send and read."""
CACHED_S = 600
"""Seconds for which a browser keeps the answer to a preflight."""


class Cors:
    """ASGI middleware. `origins` may call everything, and every origin `public_paths` with a public key."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str], public_paths: Collection[str]) -> None:
        self._public_paths = public_paths
        self._for_known = _allowing(app, origins) if origins else app
        self._for_everybody = _allowing(app, ["*"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer a preflight."""
        if scope["type"] != "http" or scope["path"] not in self._public_paths:
            await self._for_known(scope, receive, send)
        elif _is_preflight(scope):
            await self._answer_preflight(scope, receive, send)
        else:
            await self._for_known(scope, receive, _allowing_public_keys(scope, send))

    async def _answer_preflight(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What it costs is charged to the client's address, since there is no key."""
        try:
            await charge_stranger(scope)
        except LimitExceeded as refused:
            await response_to(refused, asked_of(scope))(scope, receive, send)
            return
        await self._for_everybody(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names


def _allowing(app: ASGIApp, origins: Collection[str]) -> CORSMiddleware:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=EXPOSED,
        max_age=CACHED_S,
    )


def _allowing_public_keys(scope: Scope, send: Send) -> Send:
    """`send` that lets every page read the answer to a request with a public key."""

    async def send_allowing(message: Message) -> None:
        if message["type"] == "http.response.start":
            caller = scope.get("argosy.caller")
            headers = MutableHeaders(scope=message)
            if caller is not None and caller.is_public:
                headers.setdefault("Access-Control-Allow-Origin", "*")
                headers.setdefault("Access-Control-Expose-Headers", ", ".join(EXPOSED))
        await send(message)

    return send_allowing

"""GET /v1/jobs/{id}/events: a job's life as Server-Sent Events (https://html.spec.whatwg.org/multipage/#server-sent-events).

The first event is the present state, so whoever reconnects has missed nothing. The stream ends after the end
state, or when this gateway is about to stop: clients reconnect by themselves, and reach another one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.errors import Unavailable
from libs.common.ledger.jobs import JobFacts
from services.gateway.endpoints.job_document import job_document
from services.gateway.endpoints.jobs import find_job
from services.gateway.engine.job_updates import JobUpdates
from services.gateway.http.state import state_of
from services.gateway.identity.authentication import Authenticator
from services.gateway.problems import Unauthenticated

KEEP_ALIVE_S = 15.0
"""Silence after which a comment is sent, so that no proxy on the way closes the stream."""
RECONNECT_AFTER_MS = 1000
AT_MOST_S = 3000.0
"""A stream ends before its place among the caller's `streams` does; clients come back, and are looked at anew."""


async def follow_job(request: Request) -> Response:
    """`state` events carry the whole job, `progress` events its progress."""
    facts = await find_job(request)
    state = state_of(request)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    callers: Authenticator = state.authenticator
    credential = request.headers["authorization"]
    stream = _stream(state.job_updates, facts, state.draining, lambda: _welcome(callers, credential))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    following: JobUpdates, facts: JobFacts, draining: asyncio.Event, welcome: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    yield f"retry: {RECONNECT_AFTER_MS}\n\n".encode()
    with following.follow(facts) as follower:
        until = asyncio.get_running_loop().time() + AT_MOST_S
        while not (draining.is_set() or follower.gone) and asyncio.get_running_loop().time() < until:
            latest, progress = await follower.next(KEEP_ALIVE_S)
            if not await welcome():
                return
            if latest is not None:
                yield _event("state", job_document(latest))
                if latest["finished_at"]:
                    return
            elif progress is not None:
                yield _event("progress", progress)
            else:
                yield b": still here\n\n"


async def _welcome(callers: Authenticator, credential: str) -> bool:
    """Whether the caller may still be told anything: a key can be revoked while its stream is open."""
    try:
        await callers.principal(credential)
    except Unauthenticated:
        return False
    except Unavailable:  # nobody can say; without the database there is nothing to tell either
        return True
    return True


def _event(name: str, document: Mapping[str, object]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"

"""GET /v1/jobs/{id}/events: a job's life as Server-Sent Events.

The format is https://html.spec.whatwg.org/multipage/#server-sent-events.
The first event is the present state, so a client that reconnects has missed nothing. The stream ends after the
final state, or when this gateway is about to stop: clients then reconnect by themselves, to another gateway.
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
"""Seconds of silence after which a comment is sent, so that no proxy on the way closes the stream."""
RECONNECT_AFTER_MS = 1000
AT_MOST_S = 3000.0
"""A stream ends before its slot of the limit `streams` expires. Clients then reconnect, and are admitted again."""


async def follow_job(request: Request) -> Response:
    """Follow a job as a stream: `state` events carry the whole job, `progress` events its progress."""
    facts = await find_job(request)
    state = state_of(request)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    authenticator: Authenticator = state.authenticator
    credential = request.headers["authorization"]
    stream = _stream(state.job_updates, facts, state.draining, lambda: _is_allowed(authenticator, credential))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    updates: JobUpdates, facts: JobFacts, draining: asyncio.Event, is_allowed: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    yield f"retry: {RECONNECT_AFTER_MS}\n\n".encode()
    with updates.follow(facts) as follower:
        until = asyncio.get_running_loop().time() + AT_MOST_S
        while not (draining.is_set() or follower.gone) and asyncio.get_running_loop().time() < until:
            latest, progress = await follower.next(KEEP_ALIVE_S)
            if not await is_allowed():
                return
            if latest is not None:
                yield _event("state", job_document(latest))
                if latest["finished_at"]:
                    return
            elif progress is not None:
                yield _event("progress", progress)
            else:
                yield b": still here\n\n"


async def _is_allowed(authenticator: Authenticator, credential: str) -> bool:
    """Whether the caller is still authenticated: a key can be revoked while its stream is open."""
    try:
        await authenticator.principal(credential)
    except Unauthenticated:
        return False
    except Unavailable:  # unknown; but without the database there are no new facts to send either
        return True
    return True


def _event(name: str, document: Mapping[str, object]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"

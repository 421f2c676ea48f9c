"""GET /v1/jobs/{id}/events: a job's life as Server-Sent Events.

The format is https://html.spec.whatwg.org/multipage/#server-sent-events.
The first event is the present state, so a client that reconnects has missed nothing. The stream ends after the
final state, or when this gateway is about to stop: clients then reconnect by themselves, to another gateway.

An event's id says what its reader has seen: the job's state, its attempt, its failures, and how much is done. A
client that reconnects sends the last one (Last-Event-ID), and is not told the same again. One that has seen the
end is answered 204, because an EventSource connects again until then.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.contracts.json_documents import encoded
from libs.common.errors import Unavailable
from libs.common.ledger.jobs import JobFacts
from services.gateway.endpoints.job_document import job_document
from services.gateway.endpoints.jobs import find_job
from services.gateway.engine.job_updates import Follower
from services.gateway.http.state import base_of, state_of
from services.gateway.identity.authentication import Authenticator
from services.gateway.problems import Unauthenticated

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy on the way closes the stream."""
RECONNECT_AFTER_MS = 1000
AT_MOST_S = 3000.0
"""A stream ends before its slot of the limit `streams` expires. Clients then reconnect, and are admitted again."""


async def follow_job(request: Request) -> Response:
    """Follow a job as a stream: `state` events carry the whole job, `progress` events its progress.

    204: the caller has seen the end already (Last-Event-ID).
    """
    facts = await find_job(request)
    state = state_of(request)
    has_seen = _covers(request.headers.get("last-event-id", ""), facts)
    if has_seen and facts["finished_at"]:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    authenticator: Authenticator = state.authenticator
    credential = request.headers["authorization"]
    updates = state.job_updates.follow(facts, has_seen=has_seen)
    is_allowed = partial(_is_allowed, authenticator, credential)
    stream = _stream(updates, facts, base_of(request), state.draining, is_allowed)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    updates: AbstractContextManager[Follower],
    facts: JobFacts,
    base: str,
    draining: asyncio.Event,
    is_allowed: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    yield f"retry: {RECONNECT_AFTER_MS}\n\n".encode()
    with updates as follower:
        until = asyncio.get_running_loop().time() + AT_MOST_S
        while not (draining.is_set() or follower.gone) and asyncio.get_running_loop().time() < until:
            latest, progress = await follower.next(KEEP_ALIVE_S)
            if not await is_allowed():
                return
            if latest is not None:
                facts = latest
                yield _event("state", job_document(facts, base), _event_id(facts, facts["progress"]))
                if facts["finished_at"]:
                    return
            elif progress is not None:
                yield _event("progress", progress, _event_id(facts, progress))
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


def _event(name: str, document: Mapping[str, object], event_id: str) -> bytes:
    return f"event: {name}\nid: {event_id}\ndata: ".encode() + encoded(document) + b"\n\n"


def _event_id(facts: JobFacts, progress: Mapping[str, Any] | None) -> str:
    """What the reader of an event has seen, such as `running-1-0-17`."""
    return f"{facts['state']}-{facts['attempt']}-{facts['failures']}-{_done(progress)}"


def _covers(event_id: str, facts: JobFacts) -> bool:
    """Whether `facts` are nothing new to the reader of that event. What is no id of ours covers nothing."""
    seen, _, done = event_id.rpartition("-")
    now, _, done_now = _event_id(facts, facts["progress"]).rpartition("-")
    return seen == now and re.fullmatch("[0-9]{1,18}", done) is not None and int(done) >= int(done_now)


def _done(progress: Mapping[str, Any] | None) -> int:
    return (progress or {}).get("done") or 0

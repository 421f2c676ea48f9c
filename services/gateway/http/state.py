"""The application's state: the resources that app.py opens, with their types."""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import State
from starlette.requests import HTTPConnection
from starlette.types import Scope

from libs.common import log
from libs.common.blobs import Blobs
from libs.common.bus import Bus
from libs.common.db import Database
from services.gateway.config import Settings
from services.gateway.engine.dispatcher import Dispatcher
from services.gateway.engine.event_intake import EventIntake
from services.gateway.engine.job_updates import JobUpdates
from services.gateway.engine.offers import WorkerOffers
from services.gateway.engine.readiness import Readiness
from services.gateway.http.client_address import ClientAddresses
from services.gateway.http.load_shedding import LargeBodies, LoadShedder
from services.gateway.http.public_url import PublicUrls
from services.gateway.http.reading_processes import ReadingProcesses
from services.gateway.http.timeouts import Timeouts
from services.gateway.identity.authentication import Authenticator
from services.gateway.identity.tokens import Tokens
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import Policy
from services.gateway.problems import Asked


class GatewayState(State):
    """Starlette's `app.state`, with types. app.py sets every attribute before the first request."""

    settings: Settings
    policies: Mapping[str, Policy]
    """The rate limits of tenants without own limits."""
    started: asyncio.Event
    """Set when all servers have been found and requests are taken."""
    draining: asyncio.Event
    """Set when the process has been told to stop."""
    openapi: bytes
    """The content of /openapi.json."""
    docs: bytes
    """The content of /docs, in bytes, so that all answers share it."""
    database: Database
    bus: Bus
    blobs: Blobs
    tokens: Tokens
    authenticator: Authenticator
    limiter: Limiter
    load_shedder: LoadShedder
    large_bodies: LargeBodies
    reading_processes: ReadingProcesses
    timeouts: Timeouts
    client_addresses: ClientAddresses
    public_urls: PublicUrls
    dispatcher: Dispatcher
    event_intake: EventIntake
    job_updates: JobUpdates
    offers: WorkerOffers
    readiness: Readiness


def state_of(request: HTTPConnection | Scope) -> GatewayState:
    """The state of the application that serves `request` (a request or its ASGI scope)."""
    state: GatewayState = request["app"].state
    return state


def base_of(request: HTTPConnection | Scope) -> str:
    """What stands before every path that the caller is told, such as `https://api.example.com` (public_url.py)."""
    scope: Scope = request.scope if isinstance(request, HTTPConnection) else request
    return state_of(scope).public_urls.base(scope)


def asked_of(scope: Scope) -> Asked:
    """What the answer with a problem says of the request."""
    return Asked(log.Trace.of(scope["argosy.traceparent"]).request_id, base_of(scope))

"""create_app: the resources that are open while the gateway runs, in order. Read this first, then routes.py."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import orjson
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from libs.common import background, bus, db, probes
from libs.common.blobs import Blobs
from libs.common.contracts.services import QUEUES
from services.gateway.config import Settings
from services.gateway.engine.dispatcher import Dispatcher
from services.gateway.engine.event_intake import EventIntake
from services.gateway.engine.job_updates import JobUpdates
from services.gateway.engine.offers import WorkerOffers
from services.gateway.engine.readiness import Readiness
from services.gateway.engine.retention import Retention
from services.gateway.engine.scaling_signal import ScalingSignal
from services.gateway.http.client_address import ClientAddresses
from services.gateway.http.cors import Cors
from services.gateway.http.docs_page import page
from services.gateway.http.early_answers import EarlyAnswers
from services.gateway.http.load_shedding import LargeBodies, LoadShedder
from services.gateway.http.openapi import document
from services.gateway.http.operations import Operation
from services.gateway.http.public_url import PublicUrls
from services.gateway.http.reading_processes import ReadingProcesses
from services.gateway.http.request_log import RequestLog
from services.gateway.http.state import GatewayState
from services.gateway.http.timeouts import Timeouts
from services.gateway.identity.authentication import Authenticator
from services.gateway.identity.tokens import Tokens
from services.gateway.limits.limiter import Limiter
from services.gateway.router import OperationRouter, routes_for
from services.gateway.routes import OPERATIONS, PUBLIC_OPERATIONS


def create_app(
    settings: Settings, *, queues: Sequence[str] = QUEUES, operations: Sequence[Operation] = ()
) -> Starlette:
    """The gateway as an ASGI application. Other `queues` and additional `operations` are for tests."""
    state = GatewayState()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        redis = _redis(settings)
        state.settings = settings
        state.openapi, state.docs = _described(settings)
        state.started, state.draining = asyncio.Event(), asyncio.Event()
        state.client_addresses = ClientAddresses(settings.proxies)
        state.public_urls = PublicUrls(settings.public_url, state.client_addresses)
        state.policies = settings.policies
        state.blobs = Blobs(settings)
        state.load_shedder = LoadShedder(settings.gateway_max_in_flight)
        state.large_bodies = LargeBodies(settings.gateway_large_bodies)
        state.reading_processes = ReadingProcesses(
            settings.gateway_max_mail_bytes, preload="services.gateway.endpoints.letters"
        )
        state.timeouts = Timeouts()
        state.tokens = Tokens(settings, settings.gateway_env)
        scaling_signal = ScalingSignal(queues)

        def takes_requests() -> bool:
            """Also while a server is away: then callers are told so by us, and not by what stands in front."""
            return state.started.is_set() and not state.draining.is_set()

        async with (
            probes.serving(settings, takes_requests, {"/slots-wanted": scaling_signal.answer}),
            aclosing(redis),
            db.connect(settings, "gateway", role=db.Role.GATEWAY) as state.database,
            bus.connect(settings, "gateway") as state.bus,
        ):
            state.authenticator = Authenticator(
                state.database, state.bus, env=settings.gateway_env, policies=state.policies, tokens=state.tokens
            )
            state.limiter = Limiter(redis, state.bus, budget_s=settings.limits_budget_ms / 1000)
            state.readiness = Readiness({"postgres": state.database.reachable, "redis": state.limiter.reachable})
            state.dispatcher = Dispatcher(state.database, state.bus, queues)
            state.event_intake = EventIntake(state.dispatcher.accept)
            state.job_updates = JobUpdates(state.database, state.bus)
            state.offers = WorkerOffers(state.database)
            async with (
                state.limiter.running(),
                state.readiness.running(),
                _beside_requests(state, scaling_signal),
                state.event_intake.running(),
            ):
                state.started.set()
                yield

    public_paths = {operation.path for operation in OPERATIONS if operation.public_limits}
    cors = Middleware(Cors, origins=settings.origins, public_paths=public_paths)
    app = Gateway(middleware=[Middleware(EarlyAnswers), Middleware(RequestLog), cors])
    app.state = state
    app.router = OperationRouter(
        [*routes_for([*OPERATIONS, *operations]), *routes_for(PUBLIC_OPERATIONS)], lifespan
    )
    return app


def _described(settings: Settings) -> tuple[bytes, bytes]:
    """The API as an OpenAPI document and as a page, in bytes, so that all answers share them."""
    described = document(OPERATIONS, settings.public_url)
    return orjson.dumps(described), page(described).encode()


def _redis(settings: Settings) -> Redis:
    return Redis.from_url(
        settings.redis_address,
        client_name="argosy-gateway",
        protocol=2,  # RESP3 and driver_info begin with commands that our user may not use, and need not
        driver_info=None,
        socket_connect_timeout=1,
        socket_timeout=1,
    )


def _beside_requests(state: GatewayState, scaling_signal: ScalingSignal) -> AbstractAsyncContextManager[None]:
    """What runs beside the requests. Without the essential parts the gateway would be of no use."""
    retention = Retention(state.database, state.blobs, state.settings)
    return background.alongside(
        background.essential(state.dispatcher.run()),  # accepted jobs would stay where they are
        background.essential(state.timeouts.watch()),  # requests would hang
        background.essential(state.load_shedder.watch()),  # the last lag seen might refuse for ever
        background.essential(state.job_updates.recheck()),  # followers would miss what was lost
        background.essential(state.blobs.watch()),  # the end of an outage would not be noticed
        background.optional(state.job_updates.listen()),  # they are told all by `recheck`, but later
        background.optional(state.authenticator.listen()),  # what is cached ends by itself, but later
        background.optional(retention.run()),  # requests need none of it
        background.optional(scaling_signal.run(state.database)),  # without numbers nothing is scaled
    )


class Gateway(Starlette):
    """Starlette with only our own middleware. RequestLog turns bugs into responses."""

    def build_middleware_stack(self) -> ASGIApp:
        """Our middleware around the router, which turns FORESEEN errors into responses."""
        app: ASGIApp = self.router
        for layer, args, kwargs in reversed(self.user_middleware):
            app = layer(app, *args, **kwargs)
        return app


def drain(app: Starlette) -> None:
    """Begin to stop: report not ready, and end streams so that followers reconnect to another gateway."""
    app.state.draining.set()
    app.state.job_updates.wake_all()

"""create_app: what is open while the gateway runs, and in which order. Read this first, then routes.py."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import orjson
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from libs.common import background, bus, db, probes
from libs.common.blobs import Blobs
from libs.common.contracts import QUEUES
from services.gateway.access import Access
from services.gateway.addresses import Addresses
from services.gateway.auth import Callers
from services.gateway.config import Settings
from services.gateway.deadlines import Deadlines
from services.gateway.dispatcher import Dispatcher
from services.gateway.following import Following
from services.gateway.health import Readiness
from services.gateway.housekeeping import Housekeeper
from services.gateway.limits.limiter import Limiter
from services.gateway.openapi import document, page
from services.gateway.operations import Operation
from services.gateway.routes import OPEN, OPERATIONS, Table, routes_for
from services.gateway.shedding import Shedder
from services.gateway.tokens import Tokens

CORS_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Last-Event-ID", "traceparent")
CORS_EXPOSED = ("Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "ETag")


def create_app(
    settings: Settings, *, queues: Sequence[str] = QUEUES, operations: Sequence[Operation] = ()
) -> Starlette:
    """The gateway as an ASGI application; `queues` and `operations` beyond the fleet's own are for its tests."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        redis = Redis.from_url(
            settings.redis_address, client_name="argosy-gateway", socket_connect_timeout=1, socket_timeout=1
        )
        state = app.state
        state.settings = settings
        described = document(OPERATIONS)
        state.openapi, state.docs = orjson.dumps(described), page(described)
        state.ready = Readiness()
        state.draining = asyncio.Event()
        state.addresses = Addresses(settings.proxies)
        state.policies = settings.policies
        state.blobs = Blobs(settings)
        state.shedder = Shedder(settings.gateway_max_in_flight)
        state.deadlines = Deadlines()
        state.tokens = Tokens(settings, settings.gateway_env)

        def serving() -> bool:
            dispatcher: Dispatcher | None = getattr(state, "dispatcher", None)
            return dispatcher is not None and dispatcher.answered and not state.draining.is_set()

        async with (
            aclosing(redis),
            db.connect(settings, "gateway", role=db.Role.GATEWAY) as state.database,
            bus.connect(settings, "gateway") as state.bus,
            probes.serving(settings, serving),
        ):
            state.callers = Callers(
                state.database, state.bus, env=settings.gateway_env, policies=state.policies, tokens=state.tokens
            )
            state.limiter = Limiter(redis, state.bus, budget_s=settings.limits_budget_ms / 1000)
            state.dispatcher = Dispatcher(state.database, state.bus, queues)
            state.following = Following(state.database, state.bus)
            housekeeper = Housekeeper(state.database, state.blobs, settings)
            async with (
                state.limiter.running(),
                background.alongside(
                    state.dispatcher.run(),
                    housekeeper.run(),
                    state.shedder.watch(),
                    state.deadlines.watch(),
                    state.callers.listen(),
                    state.following.listen(),
                    state.following.recheck(),
                ),
            ):
                yield

    app = Gateway(middleware=[Middleware(Access), *_cors(settings.origins)])
    app.router = Table([*routes_for([*OPERATIONS, *operations]), *OPEN], lifespan)
    return app


class Gateway(Starlette):
    """Starlette with only our own layers: Access is the outermost one, and answers for bugs."""

    def build_middleware_stack(self) -> ASGIApp:
        """From the outside in: ours, the routes, which answer for what is foreseen."""
        app: ASGIApp = self.router
        for layer, args, kwargs in reversed(self.user_middleware):
            app = layer(app, *args, **kwargs)
        return app


def _cors(origins: list[str]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
            max_age=600,
        )
    ]


def drain(app: Starlette) -> None:
    """The process has been told to stop: no more readiness, and followers may reconnect elsewhere."""
    app.state.draining.set()
    app.state.following.wake_all()

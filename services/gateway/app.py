"""create_app: what is open while the gateway runs, and every route. Read this first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from libs.common import bus, db, probes
from libs.common.blobs import Blobs
from libs.common.contracts import QUEUES
from services.gateway.access import Access
from services.gateway.artifacts import download
from services.gateway.auth import Keys
from services.gateway.config import Settings
from services.gateway.dispatcher import Dispatcher
from services.gateway.jobs import list_jobs, show_job
from services.gateway.limits import Limiter
from services.gateway.ocr import submit_ocr
from services.gateway.problems import HANDLERS


def create_app(settings: Settings) -> Starlette:
    """The gateway as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        redis = Redis.from_url(
            settings.redis_address, client_name="argosy-gateway", socket_connect_timeout=1, socket_timeout=1
        )
        state = app.state
        state.settings = settings
        state.blobs = Blobs(settings)
        state.limiter = Limiter(redis)
        async with (
            db.connect(settings, "gateway") as state.database,
            bus.connect(settings, "gateway") as state.bus,
            probes.serving(settings, lambda: True),
        ):
            state.keys = Keys(state.database, settings.gateway_env)
            state.dispatcher = Dispatcher(state.database, state.bus, QUEUES)
            dispatching = asyncio.create_task(state.dispatcher.run())
            yield
            dispatching.cancel()
        await redis.aclose()

    return Starlette(
        routes=[
            Route("/v1/ocr", submit_ocr, methods=["POST"]),
            Route("/v1/jobs", list_jobs),
            Route("/v1/jobs/{id}", show_job),
            Route("/v1/jobs/{id}/artifacts/{name}", download),
            Route("/livez", alive),
            Route("/readyz", ready),
        ],
        middleware=[Middleware(Access)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )


async def alive(_request: Request) -> Response:
    """The process turns. Asks no other server."""
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Whether requests can be served: with the ledger, yes. The rest is told for the operator's eyes."""
    state = request.app.state
    database, redis = await asyncio.gather(state.database.reachable(), state.limiter.reachable())
    parts = {"postgres": database, "redis": redis, "nats": state.bus.connected}
    return JSONResponse({"ready": database, **parts}, status_code=200 if database else 503)

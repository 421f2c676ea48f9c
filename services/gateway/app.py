"""create_app: what is open while the gateway runs, and every route. Read this first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
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
from services.gateway.events import follow_job
from services.gateway.following import Following
from services.gateway.housekeeping import Housekeeper
from services.gateway.jobs import list_jobs, show_job
from services.gateway.keyring import create_key, list_keys, revoke_key, rotate_key
from services.gateway.limits import Limiter
from services.gateway.managing import cancel_job, cancel_jobs, cancel_replay, retry_job, retry_jobs, show_replay
from services.gateway.ocr import submit_ocr
from services.gateway.problems import HANDLERS
from services.gateway.queues import cap_queue, list_queues, pause_queue, resume_queue
from services.gateway.schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    list_schedules,
    run_schedule,
    show_schedule,
)
from services.gateway.why import explain_job


def create_app(settings: Settings, *, queues: Sequence[str] = QUEUES, routes: Sequence[Route] = ()) -> Starlette:
    """The gateway as an ASGI application; `queues` and `routes` beyond the fleet's own are for its tests."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        redis = Redis.from_url(
            settings.redis_address, client_name="argosy-gateway", socket_connect_timeout=1, socket_timeout=1
        )
        state = app.state
        state.settings = settings
        state.draining = asyncio.Event()
        state.blobs = Blobs(settings)
        state.limiter = Limiter(redis)

        def serving() -> bool:
            dispatcher: Dispatcher | None = getattr(state, "dispatcher", None)
            return dispatcher is not None and dispatcher.answered and not state.draining.is_set()

        async with (
            db.connect(settings, "gateway") as state.database,
            bus.connect(settings, "gateway") as state.bus,
            probes.serving(settings, serving),
        ):
            state.keys = Keys(state.database, settings.gateway_env)
            state.dispatcher = Dispatcher(state.database, state.bus, queues)
            state.following = Following(state.database, state.bus)
            housekeeper = Housekeeper(state.database, state.blobs, settings)
            async with state.following.listening():
                tasks = [asyncio.create_task(state.dispatcher.run()), asyncio.create_task(housekeeper.run())]
                yield
                for task in tasks:
                    task.cancel()
        await redis.aclose()

    return Starlette(
        routes=[*ROUTES, *routes],
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
    serving = database and not state.draining.is_set()
    return JSONResponse({"ready": serving, **parts}, status_code=200 if serving else 503)


def drain(app: Starlette) -> None:
    """The process has been told to stop: no more readiness, and followers may reconnect elsewhere."""
    app.state.draining.set()
    app.state.following.wake_all()


ROUTES = [
    Route("/v1/ocr", submit_ocr, methods=["POST"]),
    Route("/v1/jobs", list_jobs),
    Route("/v1/jobs/cancel", cancel_jobs, methods=["POST"]),
    Route("/v1/jobs/retry", retry_jobs, methods=["POST"]),
    Route("/v1/jobs/{id}", show_job),
    Route("/v1/jobs/{id}/artifacts/{name}", download),
    Route("/v1/jobs/{id}/cancel", cancel_job, methods=["POST"]),
    Route("/v1/jobs/{id}/events", follow_job),
    Route("/v1/jobs/{id}/retry", retry_job, methods=["POST"]),
    Route("/v1/jobs/{id}/why", explain_job),
    Route("/v1/keys", list_keys),
    Route("/v1/keys", create_key, methods=["POST"]),
    Route("/v1/keys/{id}", revoke_key, methods=["DELETE"]),
    Route("/v1/keys/{id}/rotate", rotate_key, methods=["POST"]),
    Route("/v1/queues", list_queues),
    Route("/v1/queues/{name}", cap_queue, methods=["PATCH"]),
    Route("/v1/queues/{name}/pause", pause_queue, methods=["POST"]),
    Route("/v1/queues/{name}/resume", resume_queue, methods=["POST"]),
    Route("/v1/replays/{id}", show_replay),
    Route("/v1/replays/{id}/cancel", cancel_replay, methods=["POST"]),
    Route("/v1/schedules", list_schedules),
    Route("/v1/schedules", create_schedule, methods=["POST"]),
    Route("/v1/schedules/{id}", show_schedule),
    Route("/v1/schedules/{id}", change_schedule, methods=["PATCH"]),
    Route("/v1/schedules/{id}", delete_schedule, methods=["DELETE"]),
    Route("/v1/schedules/{id}/run", run_schedule, methods=["POST"]),
    Route("/livez", alive),
    Route("/readyz", ready),
]

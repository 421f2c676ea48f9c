"""python -m benchmarks.gateway.bare: Starlette and uvicorn alone, and with only the gateway's rate limits."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common import bus, gc_tuning
from libs.common.config import BusSettings
from services.gateway.http.admission import charges
from services.gateway.limits.limiter import Limiter
from services.gateway.limits.policies import DEFAULTS, adjusted

POLICIES = adjusted(DEFAULTS, {"global": "900000/s", "ip": "900000/s", "burst": "900000/s", "api": "900000/s"})
NAMES = ("global", "ip", "burst", "api")
CHARGES = charges(POLICIES, NAMES, address="127.0.0.1", tenant="bench", user="bench")
"""Computed once per caller, as in the gateway."""


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Run the limiter as the gateway does."""
    redis = Redis.from_url(os.environ["REDIS_URL"])
    async with bus.connect(BusSettings(), "bench") as connected:
        app.state.limiter = Limiter(redis, connected, budget_s=1.0)
        async with app.state.limiter.running():
            gc_tuning.tune()  # as the gateway does, so that the door is compared and not the collector
            yield


async def hello(_request: Request) -> Response:
    """Return a constant response."""
    return Response(b'{"hello":"world"}', media_type="application/json")


async def limited(request: Request) -> Response:
    """Return the same response, charged to six policies."""
    decision = await request.app.state.limiter.take(CHARGES)
    response = Response(b'{"hello":"world"}', media_type="application/json")
    response.raw_headers += (
        decision.raw_headers
    )  # as the gateway does: made once for all who were decided together
    return response


app = Starlette(routes=[Route("/", hello), Route("/limited", limited)], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning",
        backlog=4096,
    )  # fmt: skip

"""python -m tests.chaos.gateway: the real gateway, with one more route that submits jobs of the chaos queue."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common import config, log
from libs.common.ledger.jobs import new_id
from services.gateway.__main__ import Server
from services.gateway.app import create_app
from services.gateway.config import Settings
from services.gateway.limits import Policy
from services.gateway.submitting import JobFields, new_job, submit
from tests.chaos.worker import QUEUE

LIMIT = Policy("chaos", 1_000_000, 60)


async def submit_chaos(request: Request) -> Response:
    """Authenticated, limited and committed like any other job."""
    principal = await request.app.state.keys.principal(request)
    payload = await request.body()
    decision = await request.app.state.limiter.take(LIMIT, principal.key_id)
    job = new_job(
        request,
        principal,
        JobFields(),
        job_id=new_id(),
        queue=QUEUE,
        kind="work",
        payload=payload,
        fingerprint=hashlib.sha256(payload).digest(),
    )
    return await submit(request, job, decision.headers)


if __name__ == "__main__":
    settings = config.load(Settings)
    log.setup("gateway")
    app = create_app(settings, queues=[QUEUE], routes=[Route("/v1/chaos", submit_chaos, methods=["POST"])])
    Server(app, settings).run()

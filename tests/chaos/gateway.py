"""python -m tests.chaos.gateway: the real gateway, with one more route that submits jobs of the chaos queue."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from libs.common import config, log
from libs.common.ledger.jobs import new_id
from services.gateway.__main__ import Server
from services.gateway.app import create_app
from services.gateway.config import Settings
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller
from services.gateway.http.load_shedding import Urgency
from services.gateway.http.operations import Operation
from services.gateway.identity.scopes import Scope
from tests.chaos.worker import QUEUE


async def submit_chaos(request: Request) -> Response:
    """Authenticated, limited and committed like any other job."""
    payload = await request.body()
    job = new_job(
        request,
        caller(request),
        JobFields(),
        job_id=new_id(),
        queue=QUEUE,
        kind="work",
        payload=payload,
        fingerprint=hashlib.sha256(payload).digest(),
    )
    return await submit(request, job)


OPERATION = Operation(
    method="POST",
    path="/v1/chaos",
    endpoint=submit_chaos,
    scope=Scope.JOBS_WRITE,
    limits=("ocr",),
    urgency=Urgency.SUBMIT,
)

if __name__ == "__main__":
    settings = config.load(Settings)
    log.setup("gateway")
    app = create_app(settings, queues=[QUEUE], operations=[OPERATION])
    Server(app, settings).run()

"""python -m benchmarks.gateway.served: the real gateway with two more operations, GET /hello and POST /work."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common import config, log, telemetry
from libs.common.contracts.services import ANALYTICS
from libs.common.ledger.jobs import new_id
from services.gateway.__main__ import Server
from services.gateway.app import create_app
from services.gateway.config import Settings
from services.gateway.endpoints.submission import JobFields, new_job, submit
from services.gateway.http.admission import caller
from services.gateway.http.json_io import read_json
from services.gateway.http.load_shedding import Urgency
from services.gateway.http.operations import Operation
from services.gateway.identity.scopes import Scope

QUEUE = "bench"


class Work(BaseModel):
    """A small job."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=0)]
    note: str = ""


async def hello(_request: Request) -> Response:
    """Return a constant response."""
    return Response(b'{"hello":"world"}', media_type="application/json")


async def submit_work(request: Request) -> Response:
    """Accept a small job."""
    asked = await read_json(request, Work)
    payload = asked.model_dump_json().encode()
    job = new_job(
        request, caller(request), JobFields(), job_id=new_id(), queue=QUEUE, kind="work", payload=payload,
        fingerprint=b"",
    )  # fmt: skip
    return await submit(request, job)


OPERATIONS = [
    Operation(method="GET", path="/hello", endpoint=hello, scope=Scope.JOBS_READ),
    Operation(
        method="POST",
        path="/work",
        endpoint=submit_work,
        scope=Scope.JOBS_WRITE,
        urgency=Urgency.SUBMIT,
        body=Work,
    ),
]

if __name__ == "__main__":
    settings = config.load(Settings)
    log.setup("gateway")
    with telemetry.running(settings, "gateway"):
        Server(create_app(settings, queues=[QUEUE, ANALYTICS.name], operations=OPERATIONS), settings).run()

"""Links to artifacts that need no key: made with one, good for one file and for some days."""

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.whole_numbers import WHOLE
from libs.common.ledger import jobs
from libs.common.links import LIFE_AT_MOST_S, Link, link_of, token_of
from services.gateway.endpoints.artifacts import artifact_of, send
from services.gateway.endpoints.jobs import find_job
from services.gateway.http.export_schemas import FileLink
from services.gateway.http.json_io import json_response, read_json
from services.gateway.http.state import base_of, state_of
from services.gateway.problems import NotFound

_HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Robots-Tag": "noindex, nofollow",
}
_NOTHING = "This link leads nowhere: it is not one of ours, it has expired, or its file has been removed."


class NewLink(BaseModel):
    """The body of POST /v1/jobs/{id}/artifacts/{name}/link."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"expires_in_s": 259_200}]})

    expires_in_s: Annotated[int, Field(ge=1, le=LIFE_AT_MOST_S), WHOLE] = 3 * 86_400


async def create_link(request: Request) -> Response:
    """Make a URL from which anybody who has it can download this file, until it expires or the job is removed."""
    secret = _secret(request)
    if secret is None:
        raise NotFound("There are no links here: LINK_SECRET is not set.")
    facts = await find_job(request)
    artifact = artifact_of(facts, request.path_params["name"])
    wanted = await read_json(request, NewLink)
    expires = int(time.time()) + wanted.expires_in_s
    link = Link(facts["tenant"], facts["id"], artifact["name"], artifact["sha256"], expires)
    url = f"{base_of(request)}/v1/download/{token_of(link, secret)}"
    document: FileLink = {"url": url, "expires_at": link.expires_at}
    return json_response(document, 201, {"Cache-Control": "no-store"})


async def download_by_link(request: Request) -> Response:
    """The file behind a link, with ranges. Whatever is wrong with the link, the answer is the same."""
    secret = _secret(request)
    link = None if secret is None else link_of(request.path_params["token"], secret)
    facts = None if link is None else await jobs.find(state_of(request).database, link.tenant, link.job)
    if link is None or facts is None:
        raise NotFound(_NOTHING)
    try:
        artifact = artifact_of(facts, link.name)
    except NotFound as error:
        raise NotFound(_NOTHING) from error
    if artifact["sha256"] != link.sha256:
        raise NotFound(_NOTHING)
    return await send(request, artifact, "link", _HEADERS)


def _secret(request: Request) -> str | None:
    secret = state_of(request).settings.link_secret
    return None if secret is None else secret.get_secret_value()

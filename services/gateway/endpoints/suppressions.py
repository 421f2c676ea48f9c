"""/v1/suppressions: addresses that get no mail from a tenant."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.mail import Address, parse_mailbox
from libs.common.contracts.moments import Moment
from libs.common.contracts.whole_numbers import WHOLE
from services.gateway.endpoints.service_client import (
    BODY_BYTES_AT_MOST,
    NumberPageQuery,
    call_service,
    page_of_service,
)
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.problems import NotFound

SUPPRESSED_AT_MOST = 1000
"""The maximum number of addresses in one request."""


class SuppressionListQuery(NumberPageQuery):
    """The query of GET /v1/suppressions."""

    address: Address | None = None
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 100


class NewSuppressions(BaseModel):
    """The body of POST /v1/suppressions."""

    model_config = ConfigDict(extra="forbid")

    addresses: Annotated[tuple[Address, ...], Field(min_length=1, max_length=SUPPRESSED_AT_MOST)]
    reason: Literal["bounce", "complaint", "unsubscribe", "manual"] = "manual"
    expires_at: Moment | None = None


async def list_suppressions(request: Request) -> Response:
    """Addresses that get no mail from this tenant, in the order in which they were added."""
    wanted = read_query(request, SuppressionListQuery)
    arguments = {"address": wanted.address, "after": wanted.after or 0, "limit": wanted.limit}
    return json_response(await page_of_service(request, "mailer", "list_suppressions", arguments))


async def add_suppressions(request: Request) -> Response:
    """Suppress addresses: they get no more mail from this tenant, including letters that are under way."""
    body = await read_json(request, NewSuppressions, at_most=BODY_BYTES_AT_MOST)
    return json_response(await call_service(request, "mailer", "add_suppressions", body.model_dump(mode="json")))


async def remove_suppression(request: Request) -> Response:
    """Remove a suppression: the address may get mail again."""
    address = request.path_params["address"]
    try:
        parse_mailbox(address)
    except ValueError as error:
        raise NotFound("This address is not suppressed.") from error
    await call_service(request, "mailer", "remove_suppression", {"address": address})
    return Response(status_code=204)

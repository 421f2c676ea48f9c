"""/v1/templates: versioned templates that letters refer to, and their preview."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.mail import TEMPLATE_NAME, Letter, Line, StoredLetter, TemplateReference
from services.gateway.endpoints.service_client import (
    BODY_BYTES_AT_MOST,
    NamePageQuery,
    call_service,
    page_of_service,
)
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.problems import Conflict, Invalid, NotFound

StoredBody = Annotated[str, Field(max_length=200_000)]


class NewTemplate(BaseModel):
    """The body of PUT /v1/templates/{name}. `{{ name }}` is a variable of a recipient."""

    model_config = ConfigDict(extra="forbid")

    subject: Line = ""
    text: StoredBody | None = None
    html: StoredBody | None = None


class Preview(NewTemplate):
    """The body of POST /v1/mail/preview: a template or the name of a stored one, and variables to render it."""

    template: TemplateReference | None = None
    variables: dict[str, Any] = {}


async def preview_mail(request: Request) -> Response:
    """Render a template with these variables, or report the problem with it. Nothing is sent."""
    body = await read_json(request, Preview, at_most=BODY_BYTES_AT_MOST)
    letter = Letter(**{"from": "nobody@example.com"}, **body.model_dump(exclude={"variables"}))
    stored = StoredLetter(letter=letter, is_template=True)
    arguments = {"letterhead": stored.model_dump(mode="json", by_alias=True), "variables": body.variables}
    empty: dict[str, Any] = dict.fromkeys(("subject", "text", "html", "problem"))
    try:
        return json_response(empty | await call_service(request, "mailer", "preview", arguments))
    except (Conflict, NotFound) as refused:
        return json_response(empty | {"problem": str(refused)})


async def put_template(request: Request) -> Response:
    """Store a template as a new version. Letters refer to the latest version, or to a given one."""
    name = request.path_params["name"]
    if not re.fullmatch(TEMPLATE_NAME, name):
        raise Invalid(
            errors=[{"field": "path.name", "message": "Lower-case letters, digits, - and _; 100 at most."}]
        )
    body = await read_json(request, NewTemplate, at_most=BODY_BYTES_AT_MOST)
    return json_response(await call_service(request, "mailer", "put_template", body.model_dump() | {"name": name}))


async def show_template(request: Request) -> Response:
    """A template in its latest version; with `name@3`, in version 3."""
    return json_response(
        await call_service(request, "mailer", "get_template", {"reference": request.path_params["name"]})
    )


async def list_templates(request: Request) -> Response:
    """Templates by name, in their latest versions, without their text."""
    wanted = read_query(request, NamePageQuery)
    arguments = {"after": wanted.cursor or "", "limit": wanted.limit}
    return json_response(await page_of_service(request, "mailer", "list_templates", arguments))

"""/v1/templates: words that letters name, kept in versions; how they would look."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.mail import TEMPLATE_NAME, Letter, Line, StoredLetter, TemplateReference
from services.gateway.endpoints.service_client import BODY_BYTES_AT_MOST, NamePageQuery, call_service
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.problems import Conflict, Invalid, NotFound

KeptBody = Annotated[str, Field(max_length=200_000)]


class NewTemplate(BaseModel):
    """The body of PUT /v1/templates/{name}; `{{ name }}` is a variable of a recipient."""

    model_config = ConfigDict(extra="forbid")

    subject: Line = ""
    text: KeptBody | None = None
    html: KeptBody | None = None


class Preview(NewTemplate):
    """The body of POST /v1/mail/preview: a template, or the name of one that is kept, and variables to fill in."""

    template: TemplateReference | None = None
    variables: dict[str, Any] = {}


async def preview_mail(request: Request) -> Response:
    """A template as somebody with these variables would read it, or what is wrong with it. Nothing is sent."""
    asked = await read_json(request, Preview, at_most=BODY_BYTES_AT_MOST)
    letter = Letter(**{"from": "nobody@example.com"}, **asked.model_dump(exclude={"variables"}))
    head = StoredLetter(letter=letter, is_template=True)
    question = {"letterhead": head.model_dump(mode="json", by_alias=True), "variables": asked.variables}
    nothing: dict[str, Any] = dict.fromkeys(("subject", "text", "html", "problem"))
    try:
        return json_response(nothing | await call_service(request, "mailer", "preview", question))
    except (Conflict, NotFound) as refused:
        return json_response(nothing | {"problem": str(refused)})


async def put_template(request: Request) -> Response:
    """Keep a template. Each time it is kept it has a new version; letters name the last one, or one of them."""
    name = request.path_params["name"]
    if not re.fullmatch(TEMPLATE_NAME, name):
        raise Invalid(
            errors=[{"field": "path.name", "message": "Lower-case letters, digits, - and _; 100 at most."}]
        )
    asked = await read_json(request, NewTemplate, at_most=BODY_BYTES_AT_MOST)
    return json_response(
        await call_service(request, "mailer", "put_template", asked.model_dump() | {"name": name})
    )


async def show_template(request: Request) -> Response:
    """A template in its last version; as `name@3`, in that one."""
    return json_response(
        await call_service(request, "mailer", "get_template", {"reference": request.path_params["name"]})
    )


async def list_templates(request: Request) -> Response:
    """Templates in their last versions, by name, without their text."""
    wanted = read_query(request, NamePageQuery)
    return json_response(await call_service(request, "mailer", "list_templates", wanted.model_dump()))

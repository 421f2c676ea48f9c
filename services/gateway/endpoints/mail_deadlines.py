"""/v1/deadlines: when something is due, and who is reminded of it by letters with `days_before`."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.mail import DEADLINE_NAME, Recipient, refuse_twice
from services.gateway.endpoints.service_client import BODY_BYTES_AT_MOST, NamePageQuery, call_service
from services.gateway.http.json_io import Moment, json_response, read_json, read_query
from services.gateway.problems import Invalid, NotFound

FOLLOWERS_AT_MOST = 1000
VARIABLES_BYTES_AT_MOST = 16 * 1024
"""The maximum size as JSON of the variables of a deadline or a follower: both are part of every reminder."""


class NewDeadline(BaseModel):
    """The body of PUT /v1/deadlines/{name}: when it is due, and all its followers."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "due_at": "2030-12-24T12:00:00Z",
                    "variables": {"title": "Dredging of the east basin"},
                    "followers": [{"to": "ada@example.com", "time_zone": "Europe/Berlin"}],
                }
            ]
        },
    )

    due_at: Moment
    variables: dict[str, Any] = {}
    """Variables for the templates of its reminders. A follower's own variables take precedence."""
    followers: Annotated[tuple[Recipient, ...], Field(max_length=FOLLOWERS_AT_MOST)] = ()

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        for variables in (self.variables, *(follower.variables for follower in self.followers)):
            if len(to_json(variables)) > VARIABLES_BYTES_AT_MOST:
                raise ValueError(f"Variables may have at most {VARIABLES_BYTES_AT_MOST} bytes.")
        return self

    @model_validator(mode="after")
    def _refuse_duplicates(self) -> Self:
        refuse_twice(follower.to for follower in self.followers)
        return self


async def put_deadline(request: Request) -> Response:
    """Create or replace a deadline with its followers. If its date has changed, all are reminded again."""
    name = _name(request)
    if name is None:
        raise Invalid(errors=[{"field": "path.name", "message": f"Must match {DEADLINE_NAME}."}])
    body = await read_json(request, NewDeadline, at_most=BODY_BYTES_AT_MOST)
    return json_response(
        await call_service(request, "mailer", "put_deadline", body.model_dump(mode="json") | {"name": name})
    )


async def show_deadline(request: Request) -> Response:
    """A deadline with its followers, and how many days before it each one was last reminded."""
    return json_response(await call_service(request, "mailer", "get_deadline", {"name": _known_name(request)}))


async def list_deadlines(request: Request) -> Response:
    """Deadlines by name, with the number of their followers. One that has passed is removed after 30 days."""
    wanted = read_query(request, NamePageQuery)
    return json_response(await call_service(request, "mailer", "list_deadlines", wanted.model_dump()))


async def remove_deadline(request: Request) -> Response:
    """Remove a deadline, so that nobody is reminded of it any more."""
    await call_service(request, "mailer", "remove_deadline", {"name": _known_name(request)})
    return Response(status_code=204)


def _name(request: Request) -> str | None:
    name: str = request.path_params["name"]
    return name if re.fullmatch(DEADLINE_NAME, name) else None


def _known_name(request: Request) -> str:
    name = _name(request)
    if name is None:
        raise NotFound("There is no such deadline.")
    return name

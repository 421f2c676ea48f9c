"""/v1/deadlines: when something is due, and who is reminded of it by letters with `days_before`."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.mail import DEADLINE_NAME, FOLLOWERS_AT_MOST, Recipient, refuse_twice
from libs.common.contracts.moments import Moment
from libs.common.contracts.opportunities import FOLLOWED_FIELDS
from libs.common.contracts.services import MAILER, SYNC
from services.gateway.endpoints.service_client import (
    BODY_BYTES_AT_MOST,
    NamePageQuery,
    call_service,
    page_of_service,
)
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.identity.scopes import Scope
from services.gateway.problems import Forbidden, Invalid, NotFound, ServiceUnavailable

ASKED_AT_MOST = 5
"""How often an opportunity is asked for while it goes on changing."""
VARIABLES_BYTES_AT_MOST = 16 * 1024
"""The maximum size as JSON of the variables of a deadline or a follower: both are part of every reminder."""


class NewDeadline(BaseModel):
    """The body of PUT /v1/deadlines/{name}: when it is due, or what it follows, and all its followers.

    With `add_followers` in place of `followers`, those that it has stay.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {
                    "anyOf": [
                        {
                            "required": ["due_at"],
                            "properties": {"due_at": {"type": "string"}, "opportunity": {"type": "null"}},
                        },
                        {
                            "required": ["opportunity"],
                            "properties": {
                                "due_at": {"type": "null"},
                                "opportunity": {"type": "string"},
                                "variables": {"maxProperties": 0},
                            },
                        },
                    ]
                },
                {
                    "anyOf": [
                        {"properties": {"followers": {"maxItems": 0}}},
                        {"properties": {"add_followers": {"maxItems": 0}}},
                    ]
                },
            ],
            "examples": [
                {
                    "due_at": "2030-12-24T12:00:00Z",
                    "variables": {"title": "Dredging of the east basin"},
                    "followers": [{"to": "ada@example.com", "time_zone": "Europe/Berlin"}],
                }
            ],
        },
    )

    due_at: Moment | None = None
    opportunity: Annotated[str, Field(pattern="^opp_[0-9a-f]{32}$")] | None = None
    """Instead of `due_at`: it is due when this closes, also if that changes. The opportunity gives the variables
    `title`, `url`, `agency` and `closes_on`."""
    variables: dict[str, Any] = {}
    """Variables for the templates of its reminders. A follower's own variables take precedence."""
    followers: Annotated[tuple[Recipient, ...], Field(max_length=FOLLOWERS_AT_MOST)] = ()
    add_followers: Annotated[tuple[Recipient, ...], Field(max_length=FOLLOWERS_AT_MOST)] = ()

    @model_validator(mode="after")
    def _has_one_date(self) -> Self:
        if (self.due_at is None) == (self.opportunity is None):
            raise ValueError("Give either `due_at` or `opportunity`.")
        if self.opportunity is not None and self.variables:
            raise ValueError("With `opportunity`, the variables are those of the opportunity.")
        if self.followers and self.add_followers:
            raise ValueError("Give either `followers` or `add_followers`.")
        return self

    @model_validator(mode="after")
    def _is_short(self) -> Self:
        for variables in (self.variables, *(one.variables for one in (*self.followers, *self.add_followers))):
            if len(to_json(variables)) > VARIABLES_BYTES_AT_MOST:
                raise ValueError(f"Variables may have at most {VARIABLES_BYTES_AT_MOST} bytes.")
        return self

    @model_validator(mode="after")
    def _refuse_duplicates(self) -> Self:
        refuse_twice(follower.to for follower in (*self.followers, *self.add_followers))
        return self


async def put_deadline(request: Request) -> Response:
    """Create or replace a deadline with its followers. If its date has changed, all are reminded again.

    With `opportunity`, which needs the scope `sync:read` too, it follows the date of an opportunity.
    """
    name = _name(request)
    if name is None:
        raise Invalid(errors=[{"field": "path.name", "message": f"Must match {DEADLINE_NAME}."}])
    body = await read_json(request, NewDeadline, at_most=BODY_BYTES_AT_MOST)
    arguments = body.model_dump(mode="json", include={"due_at", "variables"}) | {
        "name": name,
        "followed": None,
        "followers": [one.model_dump(mode="json") for one in (*body.followers, *body.add_followers)],
        "keep_others": bool(body.add_followers),
    }
    if body.opportunity is None:
        return json_response(await call_service(request, MAILER.name, "put_deadline", arguments))
    if Scope.SYNC_READ not in caller(request).scopes:
        raise Forbidden(f"To follow an opportunity needs the scope {Scope.SYNC_READ}.")
    return json_response(await _put_following(request, body.opportunity, arguments))


async def _put_following(request: Request, opportunity: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Put a deadline that follows an opportunity.

    Of a change before it was put the mailer may have been told in vain; so whether there was one is asked
    afterwards. Of each later change the mailer is told.
    """
    now = await _followed(request, opportunity)
    for _ in range(ASKED_AT_MOST):
        put = await call_service(request, MAILER.name, "put_deadline", arguments | {"followed": now})
        before, now = now, await _followed_still(request, now)
        if before == now:
            return put
    raise ServiceUnavailable("The opportunity changes all the time.")


async def _followed_still(request: Request, before: dict[str, Any]) -> dict[str, Any]:
    """What was there `before`, as the mailer knows it now: gone, if its source was deleted meanwhile."""
    try:
        return await _followed(request, before["follows"])
    except NotFound:
        if before["is_gone"]:
            return before
        return before | {"revision": before["revision"] + 1, "due_at": None, "is_gone": True}


async def _followed(request: Request, opportunity: str) -> dict[str, Any]:
    """The opportunity as the mailer knows it. Raises NotFound."""
    found = await call_service(request, SYNC.name, "get_opportunity", {"id": opportunity})
    is_gone = found["status"] == "gone"
    return {
        "follows": opportunity,
        "revision": found["revision"],
        "due_at": None if is_gone else found["closes_at"],
        "variables": {name: found[name] for name in FOLLOWED_FIELDS},
        "is_gone": is_gone,
    }


async def show_deadline(request: Request) -> Response:
    """A deadline with its followers, and how many days before it each one was last reminded."""
    return json_response(await call_service(request, "mailer", "get_deadline", {"name": _known_name(request)}))


async def list_deadlines(request: Request) -> Response:
    """Deadlines by name, with the number of their followers. One that has passed is removed after 30 days."""
    wanted = read_query(request, NamePageQuery)
    arguments = {"after": wanted.cursor or "", "limit": wanted.limit}
    return json_response(await page_of_service(request, "mailer", "list_deadlines", arguments))


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

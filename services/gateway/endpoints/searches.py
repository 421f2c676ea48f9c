"""/v1/searches: searches that are saved, and letters of what is new to them.

When a search runs is a schedule like any other, with the id of the search: it can be paused and run by
/v1/schedules, and nothing else says when. It is put after the search and removed before it, so whatever is cut off
in between is made good by putting or removing the search again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.ids import public_id
from libs.common.contracts.mail import AddressedRecipient, Letter
from libs.common.contracts.searches import SEARCH_NAME, SEARCH_RECIPIENTS_AT_MOST, SavedFilter, SearchChange
from libs.common.contracts.services import SYNC
from libs.common.contracts.sync import SearchPayload
from libs.common.contracts.time_zones import Zone
from libs.common.db import Database
from libs.common.ledger import schedules
from libs.common.ledger.schedules import CatchUp, NameTaken, TooManySchedules
from services.gateway.endpoints.letters import AddressedLetter
from services.gateway.endpoints.schedules import Cron, upcoming
from services.gateway.endpoints.service_client import (
    BODY_BYTES_AT_MOST,
    NamePageQuery,
    call_service,
    page_of_service,
)
from services.gateway.http.admission import caller
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.state import state_of
from services.gateway.identity.scopes import Principal, Scope
from services.gateway.problems import Conflict, Forbidden, Invalid, NotFound

RUN_WITHIN_S = 300.0
"""Seconds for looking through what has changed."""
_TO_RECIPIENTS: JsonDict = {
    "properties": {
        "letter": {
            "required": ["recipients"],
            "properties": {"recipients": {"minItems": 1, "maxItems": SEARCH_RECIPIENTS_AT_MOST}},
        }
    }
}
_EXAMPLE: JsonDict = {
    "filter": {"q": '"rural water" -loan', "amount_min": 50000},
    "cron": "0 7 * * mon-fri",
    "timezone": "America/New_York",
    "letter": {
        "from": "Harbour <office@example.com>",
        "subject": "{{ new }} new for {{ search }}",
        "text": "{% for one in opportunities %}{{ one.title }}: {{ one.url }}\n{% endfor %}",
        "recipients": [{"to": "ada@example.com"}],
    },
}


class NewSearch(BaseModel):
    """The body of PUT /v1/searches/{name}: what is searched for, when, and the letter of what is new."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"allOf": [_TO_RECIPIENTS], "examples": [_EXAMPLE]}
    )

    filter: SavedFilter
    cron: Cron
    timezone: Zone = "UTC"
    letter: AddressedLetter
    """A template to `recipients`; each has the variables `search`, `new`, `more` and `opportunities`."""

    @field_validator("letter")
    @classmethod
    def _goes_to_recipients(cls, letter: AddressedLetter) -> AddressedLetter:
        if not 1 <= len(letter.recipients) <= SEARCH_RECIPIENTS_AT_MOST:
            raise ValueError(f"A template to `recipients`, of whom there are {SEARCH_RECIPIENTS_AT_MOST} at most.")
        return letter

    def change(self, name: str) -> SearchChange:
        """What the service keeps of it."""
        letter = Letter.model_construct(**{field: getattr(self.letter, field) for field in Letter.model_fields})
        recipients = tuple(AddressedRecipient.of(one) for one in self.letter.recipients)
        return SearchChange(name=name, filter=self.filter, letter=letter, recipients=recipients)


async def put_search(request: Request) -> Response:
    """Save a search, or change it. Needs the scope `mail:write` too.

    Whenever `cron` says, a letter has what is new since it last ran, or was saved first; none if nothing is.
    """
    name, principal = request.path_params["name"], caller(request)
    if not re.fullmatch(SEARCH_NAME, name):
        raise Invalid(errors=[{"field": "path.name", "message": f"Must match {SEARCH_NAME}."}])
    body = await read_json(request, NewSearch, at_most=BODY_BYTES_AT_MOST)
    if Scope.MAIL_WRITE not in principal.scopes:
        raise Forbidden(f"To write letters needs the scope {Scope.MAIL_WRITE}.")
    upcoming(body.cron, body.timezone)
    arguments = body.change(name).model_dump(mode="json", by_alias=True)
    document = await call_service(request, SYNC.name, "put_search", arguments)
    facts = await _schedule(state_of(request).database, principal, UUID(document["id"]), name, body)
    return json_response(_shown(document, facts))


async def _schedule(
    database: Database, principal: Principal, id_: UUID, name: str, body: NewSearch
) -> Mapping[str, Any]:
    """Let the search run when its `cron` says. A schedule that is paused stays so. Raises Conflict."""
    if found := await schedules.find(database, principal.tenant, id_):
        paused, catch_up = found["paused_at"] is not None, CatchUp(found["catch_up"])
        changed = await schedules.change(
            database,
            principal.tenant,
            id_,
            cron=body.cron,
            timezone=body.timezone,
            catch_up=catch_up,
            paused=paused,
        )
        if changed is not None:
            return changed
    fields = {"priority": "normal", "max_attempts": 5, "timeout_s": RUN_WITHIN_S, "tags": []}
    try:
        return await schedules.create(
            database, principal.tenant, principal.user, schedule=id_, name=f"search:{name}", queue=SYNC.name,
            kind="search", payload=SearchPayload(search=id_).model_dump_json().encode(),
            fields=fields | {"unique_for": f"search:{id_}"},
            cron=body.cron, timezone=body.timezone, catch_up=CatchUp.ONE,
        )  # fmt: skip
    except (NameTaken, TooManySchedules) as error:
        raise Conflict(f"The search cannot be scheduled. {error}") from error


async def show_search(request: Request) -> Response:
    """A saved search with its letter, and when it runs next."""
    document = await _find(request)
    return json_response((await _with_schedules(request, [document]))[0])


async def list_searches(request: Request) -> Response:
    """Saved searches by name, without their letters."""
    wanted = read_query(request, NamePageQuery)
    arguments = {"after": wanted.cursor or None, "limit": wanted.limit}
    found = await page_of_service(request, SYNC.name, "list_searches", arguments)
    return json_response(found | {"searches": await _with_schedules(request, found["searches"])})


async def remove_search(request: Request) -> Response:
    """Remove a saved search, and when it runs. Letters on their way are not held up."""
    found, principal = await _find(request), caller(request)
    await schedules.delete(state_of(request).database, principal.tenant, UUID(found["id"]))
    await call_service(request, SYNC.name, "remove_search", {"name": found["name"]})
    return Response(status_code=204)


async def _find(request: Request) -> dict[str, Any]:
    name: str = request.path_params["name"]
    if not re.fullmatch(SEARCH_NAME, name):
        raise NotFound("There is no such search.")
    return await call_service(request, SYNC.name, "get_search", {"name": name})


async def _with_schedules(request: Request, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ids = [UUID(document["id"]) for document in documents]
    found = await schedules.named(state_of(request).database, caller(request).tenant, ids)
    return [_shown(document, found.get(UUID(document["id"]))) for document in documents]


def _shown(document: Mapping[str, Any], facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """A search and its schedule, if that has not been deleted."""
    rest = {name: value for name, value in document.items() if name != "id"}
    if facts is None:
        return rest | {"schedule": None, "cron": None, "timezone": None, "paused": False, "next": []}
    paused = facts["paused_at"] is not None
    return rest | {
        "schedule": public_id(facts["id"], "schedule"),
        "cron": facts["cron"],
        "timezone": facts["timezone"],
        "paused": paused,
        "next": [] if paused else upcoming(facts["cron"], facts["timezone"]),
    }

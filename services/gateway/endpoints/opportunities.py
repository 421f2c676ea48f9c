"""/v1/opportunities: what the sources of the tenant list, searched, and how it has changed."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.opportunities import CURSOR_AT_MOST, ChangePosition, Match, Search
from libs.common.contracts.services import SYNC
from libs.common.contracts.whole_numbers import WHOLE
from services.gateway.endpoints.service_client import call_service, page_of_service
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.state import state_of

ASKED_EVERY_S = 1.0
"""Seconds between two questions of a request that waits for changes."""


class OpportunityQuery(Search):
    """The query of GET /v1/opportunities. A list may be given as one parameter with commas, or as several."""

    @model_validator(mode="before")
    @classmethod
    def _moments_are_no_numbers(cls, query: Any) -> Any:
        # All values of a query are texts, of which a number would be taken for seconds since 1970.
        for name in ("closes_before", "closes_after", "changed_after"):
            value = query.get(name) if isinstance(query, dict) else None
            if isinstance(value, str) and value.lstrip("+-").replace(".", "", 1).isdigit():
                raise ValueError(f"`{name}` is a time in ISO 8601, such as 2030-12-24T12:00:00Z.")
        return query


class HistoryQuery(BaseModel):
    """The query of a list of changes."""

    model_config = ConfigDict(extra="forbid")

    cursor: ChangePosition | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


class ChangeListQuery(BaseModel):
    """The query of GET /v1/changes."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(max_length=CURSOR_AT_MOST)] | None = None
    """`next_cursor` of the answer before; without it, from the oldest change that is kept."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100
    wait: Annotated[int, Field(ge=0, le=30)] = 0
    """Seconds to wait for a change if there is none."""


class OpportunityMatch(Match):
    """The body of POST /v1/opportunities/match."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "We restore rural wells and pumps."}]})


async def search_opportunities(request: Request) -> Response:
    """Search opportunities by words and filters, in three orders, with numbers of hits by facet."""
    query = read_query(request, OpportunityQuery)
    return json_response(await call_service(request, SYNC.name, "search", query.model_dump(mode="json")))


async def show_opportunity(request: Request) -> Response:
    """An opportunity with all its fields, and the record as its source gave it."""
    return json_response(await call_service(request, SYNC.name, "get_opportunity", _named(request)))


async def list_history(request: Request) -> Response:
    """Every change of an opportunity, oldest first: which fields, from what, to what, by which run, when."""
    query = read_query(request, HistoryQuery)
    arguments = _named(request) | {"after": query.cursor, "limit": query.limit}
    return json_response(await page_of_service(request, SYNC.name, "list_history", arguments))


async def match_opportunities(request: Request) -> Response:
    """Opportunities that fit a text, the best first: by the 24 rarest of its words that occur in any of them."""
    body = await read_json(request, OpportunityMatch)
    return json_response(await call_service(request, SYNC.name, "match", body.model_dump(mode="json")))


async def list_changes(request: Request) -> Response:
    """The changes of all opportunities, in the order in which to apply them: none is left out, none comes twice.

    An answer without changes also has a `next_cursor` to go on with. A cursor that leads to what is no longer
    known is answered with 410: read everything anew then.
    """
    query = read_query(request, ChangeListQuery)
    arguments = {"after": query.cursor, "limit": query.limit}
    loop, draining = asyncio.get_running_loop(), state_of(request).draining
    until = loop.time() + query.wait
    while True:
        answer = await page_of_service(request, SYNC.name, "list_changes", arguments)
        if answer["changes"] or loop.time() >= until or draining.is_set():
            return json_response(answer)
        arguments["after"] = answer["next_cursor"]
        with suppress(TimeoutError):
            await asyncio.wait_for(draining.wait(), min(ASKED_EVERY_S, max(0.0, until - loop.time())))


def _named(request: Request) -> dict[str, str]:
    return {"id": request.path_params["id"]}

"""RPC handlers for the gateway: what it asks about opportunities, and saved searches."""

from collections.abc import Mapping

from libs.common.contracts.opportunities import Match, Search
from libs.common.contracts.searches import SearchChange
from libs.common.rpc import Document, RpcHandler, page
from services.sync import changes, opportunities, searches
from services.sync.handler import Deps
from services.sync.matching import match as matched
from services.sync.searching import search as searched


async def search(tenant: str, request: Document, deps: Deps) -> Document:
    """A Search → `opportunities`, `facets`, `exact`, `next_cursor`. Raises CursorInvalid, SearchTooSlow."""
    return await searched(deps.database, tenant, Search.model_validate(request), deps.cursors)


async def match(tenant: str, request: Document, deps: Deps) -> Document:
    """A Match → `method`, `opportunities`, each with its `words`. Raises SearchTooSlow."""
    return await matched(deps.database, tenant, Match.model_validate(request))


async def list_changes(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a cursor) or None, `limit` → `changes`, `next_after`. Raises CursorInvalid, ChangesForgotten."""
    after, limit = request["after"], request["limit"]
    return await changes.page(deps.database, tenant, deps.cursors, after=after, limit=limit)


async def get_opportunity(tenant: str, request: Document, deps: Deps) -> Document:
    """`id` → the opportunity, with all its fields. Raises NotFound."""
    return await opportunities.get(deps.database, tenant, opportunities.parsed_id(request["id"]))


async def list_history(tenant: str, request: Document, deps: Deps) -> Document:
    """`id`, `after` or None, `limit` → `changes`, oldest first; `next_after`. Raises NotFound."""
    id_ = opportunities.parsed_id(request["id"])
    found = await opportunities.history(deps.database, tenant, id_, request["after"], request["limit"])
    return page("changes", found, request["limit"], "position")


async def put_search(tenant: str, request: Document, deps: Deps) -> Document:
    """A SearchChange → the search. Raises TooManySearches."""
    saved = await searches.put(deps.database, tenant, SearchChange.model_validate(request))
    return saved.model_dump(mode="json")


async def get_search(tenant: str, request: Document, deps: Deps) -> Document:
    """`name` → the search. Raises NotFound."""
    return (await searches.get(deps.database, tenant, request["name"])).model_dump(mode="json")


async def list_searches(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a name), `limit` → `searches`, without letters; `next_after`."""
    found = await searches.page(deps.database, tenant, request["after"], request["limit"])
    return page("searches", [one.model_dump(mode="json") for one in found], request["limit"], "name")


async def remove_search(tenant: str, request: Document, deps: Deps) -> Document:
    """`name`. Raises NotFound."""
    await searches.remove(deps.database, tenant, request["name"])
    return {}


HANDLERS: Mapping[str, RpcHandler[Deps]] = {
    "search": search,
    "get_opportunity": get_opportunity,
    "list_history": list_history,
    "list_changes": list_changes,
    "match": match,
    "put_search": put_search,
    "get_search": get_search,
    "list_searches": list_searches,
    "remove_search": remove_search,
}

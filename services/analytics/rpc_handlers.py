"""RPC handlers for the gateway: queries, event types, rejected events."""

from collections.abc import Mapping

from libs.common import metrics
from libs.common.contracts.analytics import EventTypeChange, Query
from libs.common.rpc import Document, RpcHandler, page
from services.analytics import event_types, queries, rejected
from services.analytics.handler import Deps


async def query(tenant: str, request: Document, deps: Deps) -> Document:
    """A Query → a QueryAnswer. Raises TooManyRows."""
    asked = Query.model_validate(request)
    with metrics.analytics_query_seconds.labels(asked.measure).time():
        answer = await queries.answer(deps.database, tenant, asked)
    return answer.model_dump(mode="json", exclude_none=False)


async def put_type(tenant: str, request: Document, deps: Deps) -> Document:
    """An EventTypeChange → the type, in its new version. Raises SchemaInvalid."""
    answer = await event_types.put(deps.database, tenant, EventTypeChange.model_validate(request))
    return answer.model_dump(mode="json", by_alias=True)


async def get_type(tenant: str, request: Document, deps: Deps) -> Document:
    """`name` → the type. Raises NotFound."""
    answer = await event_types.get(deps.database, tenant, request["name"])
    return answer.model_dump(mode="json", by_alias=True)


async def list_types(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a name), `limit` → `types`, `next_after`."""
    found = await event_types.page(deps.database, tenant, after=request["after"], limit=request["limit"])
    return page("types", [one.model_dump(mode="json", by_alias=True) for one in found], request["limit"], "name")


async def list_rejected(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a number), `limit`, `reason` or None → `rejected`, oldest first; `next_after`, `not_kept`."""
    found, not_kept = await rejected.page(
        deps.database, tenant, after=request["after"] or 0, limit=request["limit"], reason=request["reason"]
    )
    documents = [one.model_dump(mode="json") for one in found]
    return page("rejected", documents, request["limit"], "number") | {"not_kept": not_kept}


HANDLERS: Mapping[str, RpcHandler[Deps]] = {
    "query": query,
    "put_type": put_type,
    "get_type": get_type,
    "list_types": list_types,
    "list_rejected": list_rejected,
}

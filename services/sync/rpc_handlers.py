"""RPC handlers for the gateway: sources, rejected records, and what search_handlers.py has."""

from collections.abc import Mapping

from libs.common.contracts.sync import SourceChange
from libs.common.rpc import Document, RpcHandler, page
from services.sync import rejected, search_handlers, sources
from services.sync.handler import Deps


async def put_source(tenant: str, request: Document, deps: Deps) -> Document:
    """A SourceChange → the source, or `mistakes`. Raises TooManySources."""
    put = await sources.put(deps.database, tenant, SourceChange.model_validate(request), deps.sealer)
    if put.answer is None:
        return {"mistakes": put.mistakes}
    return put.answer.model_dump(mode="json", by_alias=True)


async def get_source(tenant: str, request: Document, deps: Deps) -> Document:
    """`name` → the source. Raises NotFound."""
    found = await sources.get(deps.database, tenant, request["name"])
    return found.model_dump(mode="json", by_alias=True)


async def list_sources(tenant: str, request: Document, deps: Deps) -> Document:
    """`after` (a name), `limit` → `sources`, `next_after`."""
    found = await sources.page(deps.database, tenant, request["after"], request["limit"])
    documents = [one.model_dump(mode="json", by_alias=True) for one in found]
    return page("sources", documents, request["limit"], "name")


async def delete_source(tenant: str, request: Document, deps: Deps) -> Document:
    """`name`. Raises NotFound, SourceBusy."""
    await sources.delete(deps.database, tenant, request["name"])
    return {}


async def list_rejected(tenant: str, request: Document, deps: Deps) -> Document:
    """`name`, `after` (a number), `limit` → `rejected`, oldest first; `next_after`. Raises NotFound."""
    source = await sources.get(deps.database, tenant, request["name"])
    found = await rejected.page(deps.database, tenant, source.name, request["after"] or 0, request["limit"])
    documents = [one.model_dump(mode="json") for one in found]
    return page("rejected", documents, request["limit"], "number")


HANDLERS: Mapping[str, RpcHandler[Deps]] = {
    "put_source": put_source,
    "get_source": get_source,
    "list_sources": list_sources,
    "delete_source": delete_source,
    "list_rejected": list_rejected,
    **search_handlers.HANDLERS,
}
"""All requests that the worker answers."""

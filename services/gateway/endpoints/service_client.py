"""RPC requests to the services that own the data, with their errors as problems."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from libs.common import rpc
from libs.common.contracts.whole_numbers import WHOLE
from libs.common.rpc import REQUEST_BYTES_AT_MOST, RequestTooLong, RpcError
from services.gateway.http.admission import caller
from services.gateway.http.state import state_of
from services.gateway.problems import (
    BadRequest,
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Problem,
    ServiceUnavailable,
    TooLarge,
)

BODY_BYTES_AT_MOST = 3 * 1024 * 1024
"""The maximum size of a caller's body, which may use six bytes a character. The RPC request is shorter."""
_WRONG_FIELDS = {
    "schema_invalid": "body.schema",
    "too_many_rows": "body.to",
}
"""The fields of the caller's body for which a service refuses a request, by the code of its error."""

_PROBLEMS: Mapping[str, type[Problem]] = {
    "not_found": NotFound,
    "token_invalid": NotFound,
    "template_missing": NotFound,
    "cursor_invalid": BadRequest,
    "changes_forgotten": Gone,
    "search_too_slow": ServiceUnavailable,
    "too_large": TooLarge,
}
"""What a caller is told of a refusal, by the code of its error."""


class NamePageQuery(BaseModel):
    """The query of a list of named things."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


class NumberPageQuery(NamePageQuery):
    """The query of a list of numbered things."""

    cursor: Annotated[str, Field(pattern=r"^\d{1,18}$")] | None = None
    """`next_cursor` of the page before."""

    @property
    def after(self) -> int | None:
        """The number of the last item seen."""
        return None if self.cursor is None else int(self.cursor)


async def page_of_service(request: Request, service: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A page of a list that a service keeps, which tells in `next_after` what to ask for next.

    Callers pass cursors on as they are, so all of them are text. Raises what `call_service` raises.
    """
    found = await call_service(request, service, name, arguments)
    next_after = found.pop("next_after")
    return found | {"next_cursor": None if next_after is None else str(next_after)}


async def call_service(
    request: Request, service: str, name: str, arguments: dict[str, Any], *, tenant: str | None = None
) -> dict[str, Any]:
    """The reply of `service` to the RPC request `name`, for the caller's tenant or for `tenant`.

    Raises NotFound, Gone, BadRequest, Invalid, TooLarge, ServiceUnavailable, Unavailable; Conflict for all other
    refusals.
    """
    tenant = caller(request).tenant if tenant is None else tenant
    try:
        return await rpc.call(state_of(request).bus, service, name, tenant, arguments)
    except RequestTooLong as error:
        raise TooLarge(f"This may have at most {REQUEST_BYTES_AT_MOST} bytes in UTF-8.") from error
    except TimeoutError as error:
        raise ServiceUnavailable from error
    except RpcError as refused:
        if field := _WRONG_FIELDS.get(refused.reason):
            raise Invalid(errors=[{"field": field, "message": str(refused)}]) from refused
        if refused.reason in ("unavailable", "bug"):
            raise ServiceUnavailable from refused
        raise _PROBLEMS.get(refused.reason, Conflict)(str(refused)) from refused

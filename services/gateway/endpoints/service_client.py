"""Questions to the services that own the answers, and what goes wrong with them as problems."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from libs.common import rpc
from libs.common.contracts.numbers import WHOLE
from libs.common.rpc import REQUEST_BYTES_AT_MOST, RequestTooLong, RpcError
from services.gateway.http.admission import caller
from services.gateway.http.state import state_of
from services.gateway.problems import Conflict, NotFound, ServiceUnavailable, TooLarge

BODY_BYTES_AT_MOST = 3 * 1024 * 1024
"""As a caller writes it, perhaps with six bytes a character; what the service is sent is shorter."""


class NamePageQuery(BaseModel):
    """The query of a list of what has a name."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(max_length=200)] = ""
    """The name of the last one seen."""
    limit: Annotated[int, Field(ge=1, le=500), WHOLE] = 100


async def call_service(
    request: Request, service: str, name: str, question: dict[str, Any], *, tenant: str | None = None
) -> dict[str, Any]:
    """The answer of `service`, on behalf of the caller's tenant, or of `tenant`.

    Raises NotFound, TooLarge, ServiceUnavailable, Unavailable, or else Conflict.
    """
    whose = caller(request).tenant if tenant is None else tenant
    try:
        return await rpc.call(state_of(request).bus, service, name, whose, question)
    except RequestTooLong as error:
        raise TooLarge(f"This may have at most {REQUEST_BYTES_AT_MOST} bytes in UTF-8.") from error
    except TimeoutError as error:
        raise ServiceUnavailable from error
    except RpcError as refused:
        if refused.reason in ("not_found", "token_invalid", "template_missing"):
            raise NotFound(str(refused)) from refused
        if refused.reason == "too_large":
            raise TooLarge(str(refused)) from refused
        if refused.reason in ("unavailable", "bug"):
            raise ServiceUnavailable from refused
        raise Conflict(str(refused)) from refused

"""/v1/keys: admins manage the tenant's API keys."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.admission import caller
from services.gateway.http.json_io import Moment, json_response, read_json
from services.gateway.http.state import state_of
from services.gateway.identity import keys
from services.gateway.identity.keys import Issued, ScopesExceeded
from services.gateway.identity.scopes import ROLES, Role, Scope
from services.gateway.problems import Forbidden, NotFound


class NewKey(BaseModel):
    """The body of POST /v1/keys."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
    role: Role = Role.MEMBER
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=50)] | None = None
    """Some of the role's scopes; None means all. A caller can only give scopes that the caller has."""
    expires_at: Moment | None = None


class KeyRotation(BaseModel):
    """The body of POST /v1/keys/{id}/rotate."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 3600.0
    """Seconds for which the old key still works."""


async def create_key(request: Request) -> Response:
    """Create an API key. The key is shown only in this response."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, NewKey)
    fewer = None if body.scopes is None else frozenset(body.scopes)
    given = ROLES[body.role] if fewer is None else fewer
    if not ROLES[body.role] <= ROLES[principal.role]:
        raise Forbidden(f"You do not have the role {body.role} yourself.")
    if not given <= principal.scopes:
        raise Forbidden(f"You do not have these scopes yourself: {', '.join(sorted(given - principal.scopes))}.")
    issued = await keys.issue(
        state.database,
        state.settings.gateway_env,
        principal.tenant,
        body.name,
        body.role,
        scopes=fewer,
        expires_at=body.expires_at,
    )
    return _issued(issued)


async def list_keys(request: Request) -> Response:
    """All keys of the tenant, without their secrets."""
    principal = caller(request)
    return json_response({"keys": await keys.list_all(state_of(request).database, principal.tenant)})


async def revoke_key(request: Request) -> Response:
    """Revoke a key. Within a second no gateway accepts it."""
    principal, state = caller(request), state_of(request)
    key_id = _key_id(request)
    if not await keys.revoke(state.database, principal.tenant, key_id):
        raise NotFound("There is no such key, or it has been revoked already.")
    await state.authenticator.changed(key=key_id)
    return Response(status_code=204)


async def rotate_key(request: Request) -> Response:
    """Create a key that replaces this one, which works until the overlap is over."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, KeyRotation)
    key_id = _key_id(request)
    try:
        issued = await keys.rotate(
            state.database,
            state.settings.gateway_env,
            principal.tenant,
            key_id,
            overlap_s=body.overlap_s,
            within=principal.scopes,
        )
    except ScopesExceeded as error:
        raise Forbidden("That key has scopes that yours does not have, so yours cannot rotate it.") from error
    if issued is None:
        raise NotFound("There is no such key, or it has expired or been revoked.")
    await state.authenticator.changed(key=key_id)
    return _issued(issued)


def _key_id(request: Request) -> str:
    key_id: str = request.path_params["id"]
    if not (key_id.isascii() and key_id.isalnum()):
        raise NotFound("There is no such key.")
    return key_id


def _issued(issued: Issued) -> Response:
    headers = {"Location": f"/v1/keys/{issued.facts['id']}", "Cache-Control": "no-store"}
    return json_response({"key": issued.key, **issued.facts}, 201, headers)

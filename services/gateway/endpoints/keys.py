"""/v1/keys: admins manage the tenant's API keys."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.contracts.moments import Moment
from services.gateway.http.admission import caller
from services.gateway.http.idempotency import idempotency_headers, once
from services.gateway.http.json_io import json_response, read_json, read_query
from services.gateway.http.state import state_of
from services.gateway.identity import keys
from services.gateway.identity.keys import Issued, OneKey
from services.gateway.identity.scopes import Role, Scope
from services.gateway.problems import Forbidden, NotFound


class NewKey(BaseModel):
    """The body of POST /v1/keys."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
    role: Role = Role.MEMBER
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=50)] | None = None
    """Some of the role's scopes; None means all. A caller can only give scopes that the caller has."""
    expires_at: Moment | None = None


class KeyListQuery(BaseModel):
    """The query of GET /v1/keys."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(pattern="^[A-Za-z0-9]{12}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class KeyRotation(BaseModel):
    """The body of POST /v1/keys/{id}/rotate."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 3600.0
    """Seconds for which the old key still works."""


async def create_key(request: Request) -> Response:
    """Create an API key. The key is shown only in this response, and in that to the same request once more."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, NewKey)
    fewer = None if body.scopes is None else frozenset(body.scopes)
    if lacking := principal.lacks(body.role, fewer):
        raise Forbidden(f"You do not have {', '.join(lacking)} yourself.")
    issued = await keys.issue(
        state.database,
        state.settings.gateway_env,
        principal.tenant,
        body.name,
        body.role,
        scopes=fewer,
        expires_at=body.expires_at,
        at_most=state.settings.gateway_max_keys,
        one=_one(request, body),
    )
    return _issued(request, issued)


async def list_keys(request: Request) -> Response:
    """The tenant's keys, without their secrets, oldest first, in pages."""
    wanted = read_query(request, KeyListQuery)
    database, tenant = state_of(request).database, caller(request).tenant
    found = await keys.page(database, tenant, after=wanted.cursor or "", limit=wanted.limit + 1)
    page, more = found[: wanted.limit], len(found) > wanted.limit
    return json_response({"keys": page, "next_cursor": page[-1]["id"] if more else None})


async def revoke_key(request: Request) -> Response:
    """Revoke a key: the caller's own, or one that it could make. Within a second no gateway accepts it."""
    principal, state = caller(request), state_of(request)
    key_id = await _changeable(request)
    if not await keys.revoke(state.database, principal.tenant, key_id):
        raise NotFound("There is no such key, or it has been revoked already.")
    await state.authenticator.changed(key=key_id)
    return Response(status_code=204)


async def rotate_key(request: Request) -> Response:
    """Create a key that replaces this one, which works until the overlap is over."""
    principal, state = caller(request), state_of(request)
    body = await read_json(request, KeyRotation)
    key_id = await _changeable(request)
    issued = await keys.rotate(
        state.database,
        state.settings.gateway_env,
        principal.tenant,
        key_id,
        overlap_s=body.overlap_s,
        at_most=state.settings.gateway_max_keys,
        one=_one(request, body),
    )
    if issued is None:
        raise NotFound("There is no such key, or it has expired or been revoked.")
    await state.authenticator.changed(key=key_id)
    return _issued(request, issued)


async def _changeable(request: Request) -> str:
    """The id of the key in the path: the caller's own, or one that it could make. Raises NotFound, Forbidden."""
    principal, key_id = caller(request), _key_id(request)
    rights = await keys.rights(state_of(request).database, principal.tenant, key_id)
    if rights is None:
        raise NotFound("There is no such key.")
    if key_id != principal.user and (lacking := principal.lacks(*rights)):
        raise Forbidden(f"Yours cannot change that key, which has {', '.join(lacking)}.")
    return key_id


def _key_id(request: Request) -> str:
    key_id: str = request.path_params["id"]
    if not (key_id.isascii() and key_id.isalnum()):
        raise NotFound("There is no such key.")
    return key_id


def _one(request: Request, body: BaseModel) -> OneKey | None:
    """The request as one whose key is made once, if it has an Idempotency-Key. Raises Invalid."""
    repeatable = once(request, body)
    if repeatable is None:
        return None
    secret = state_of(request).settings.key_secret
    return OneKey(repeatable, caller(request).user, secret.get_secret_value().encode() if secret else None)


def _issued(request: Request, issued: Issued) -> Response:
    headers = {"Location": f"/v1/keys/{issued.facts['id']}", "Cache-Control": "no-store"}
    headers |= idempotency_headers(request, is_repeat=issued.is_repeat)
    return json_response({"key": issued.key, **issued.facts}, 201, headers)

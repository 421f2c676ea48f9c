"""/v1/limits: what remains of the caller's limits. /v1/tenants/{id}/limits: a tenant's own limits."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Database
from services.gateway.http.admission import EVERY_REQUEST, caller, charges
from services.gateway.http.json_io import json_response, read_json
from services.gateway.http.schemas import Limit, LimitList, TenantLimits
from services.gateway.http.state import state_of
from services.gateway.limits.decisions import LimitStatus
from services.gateway.limits.policies import BadLimit, Per, adjusted_for_tenant
from services.gateway.problems import Invalid, NotFound

LimitText = Annotated[str, StringConstraints(min_length=1, max_length=40)]

_KNOWN = "SELECT 1 FROM identity.tenants WHERE id = $1"
_SHOW = "SELECT policy, figure FROM identity.limits WHERE tenant = $1 ORDER BY policy"
_CLEAR = "DELETE FROM identity.limits WHERE tenant = $1 AND policy <> ALL($2::text[])"
_SET = """
INSERT INTO identity.limits (tenant, policy, figure) SELECT $1, * FROM unnest($2::text[], $3::text[])
ON CONFLICT (tenant, policy) DO UPDATE SET figure = excluded.figure
"""


class TenantLimitsUpdate(BaseModel):
    """The body of PUT /v1/tenants/{id}/limits: all own limits of the tenant, by policy."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"limits": {"api": "600/min", "ocr": "500/h"}}]}
    )

    limits: Annotated[dict[str, LimitText], Field(max_length=50)]


async def show_limits(request: Request) -> Response:
    """The caller's limits and those of all keys of its tenant together: what remains, and when there is more.

    This request is not charged to them.
    """
    principal, state = caller(request), state_of(request)
    address = state.client_addresses.of(request.scope)
    of_address = [name for name in EVERY_REQUEST if principal.policies[name].per is Per.IP]
    names = [*of_address, *(name for name, policy in principal.policies.items() if policy.per is Per.USER)]
    charged = charges(principal.policies, names, address=address, tenant=principal.tenant, user=principal.user)
    statuses = await state.limiter.status(charged)
    document: LimitList = {"mode": state.limiter.mode.value, "limits": [_limit(status) for status in statuses]}
    return json_response(document)


async def show_tenant_limits(request: Request) -> Response:
    """A tenant's own limits."""
    tenant = await _known(request)
    return json_response(await _shown(state_of(request).database, tenant))


async def set_tenant_limits(request: Request) -> Response:
    """Replace a tenant's own limits. They take effect at every gateway within a second.

    One that is lower than everybody's holds for each key, and for all keys of the tenant together.
    """
    state = state_of(request)
    tenant = await _known(request)
    body = await read_json(request, TenantLimitsUpdate)
    known = [name for name in body.limits if name in state.policies]
    others = [name for name in known if state.policies[name].per not in (Per.USER, Per.TENANT)]
    if others:
        message = f"{', '.join(others)}: counted for all tenants together, so a tenant cannot have its own."
        raise Invalid(errors=[{"field": "body.limits", "message": message}])
    try:
        adjusted_for_tenant(state.policies, body.limits)
    except BadLimit as error:
        raise Invalid(errors=[{"field": "body.limits", "message": str(error)}]) from error
    await state.database.fetch(_CLEAR, tenant, list(body.limits), tenant=tenant)
    await state.database.fetch(_SET, tenant, list(body.limits), list(body.limits.values()), tenant=tenant)
    await state.authenticator.changed(tenant=tenant)
    return json_response(await _shown(state.database, tenant))


async def _known(request: Request) -> str:
    tenant: str = request.path_params["id"]
    if "\x00" in tenant or not await state_of(request).database.fetch(_KNOWN, tenant, tenant=tenant):
        raise NotFound("There is no such tenant.")
    return tenant


async def _shown(database: Database, tenant: str) -> TenantLimits:
    rows = await database.fetch(_SHOW, tenant, tenant=tenant)
    return {"tenant": tenant, "limits": {row[0]: row[1] for row in rows}}


def _limit(status: LimitStatus) -> Limit:
    policy = status.policy
    return {
        "policy": policy.name,
        "per": policy.per.value,
        "limit": policy.limit,
        "window_s": None if policy.at_once else policy.window_s,
        "remaining": max(0, status.remaining),
        "resets_in_s": None if policy.at_once else status.free_s,
        "shadow": policy.shadow,
    }

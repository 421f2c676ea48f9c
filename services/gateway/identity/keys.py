"""API keys in the database: issued, listed, rotated with an overlap, revoked."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from libs.common.db import Database
from libs.common.errors import ArgosyError
from services.gateway.identity.key_format import new_key, secret_hash
from services.gateway.identity.scopes import ROLES, Role, Scope, Scopes

_SHOWN = "id, name, role, scopes, created_at, expires_at, revoked_at"
_TENANT = "INSERT INTO identity.tenants (id) VALUES ($1) ON CONFLICT DO NOTHING"
_KEY = f"""
INSERT INTO identity.keys (id, tenant, name, role, secret_sha256, expires_at, scopes)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING {_SHOWN}
"""  # noqa: S608 - made of constants
_EVERY = f"SELECT {_SHOWN} FROM identity.keys WHERE tenant = $1 ORDER BY created_at, id"  # noqa: S608
_REVOKE = """
UPDATE identity.keys SET revoked_at = now() WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL RETURNING id
"""
_LIVING = """
SELECT name, role, scopes, expires_at FROM identity.keys
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
_EXPIRE = """
UPDATE identity.keys SET expires_at = least(expires_at, now() + $3 * interval '1 second')
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL
"""


class NotYours(ArgosyError):
    """A key with these scopes is not yours to make."""


class Issued(NamedTuple):
    """A new key as its owner needs it, the only time, and what will be shown of it later."""

    key: str
    facts: dict[str, Any]


async def enter_tenant(database: Database, tenant: str) -> None:
    """Have `tenant`, if it is new. Raises Unavailable."""
    await database.fetch(_TENANT, tenant, tenant=tenant)


async def issue(
    database: Database,
    env: str,
    tenant: str,
    name: str,
    role: Role,
    *,
    scopes: Scopes | None = None,
    expires_at: datetime | None = None,
) -> Issued:
    """A new key for `tenant`. `scopes`: None for all that the role has. Raises Unavailable."""
    text, parts = new_key(env)
    await enter_tenant(database, tenant)
    listed = None if scopes is None else orjson.dumps(sorted(scopes)).decode()
    rows = await database.fetch(
        _KEY, parts.id, tenant, name, role.value, secret_hash(parts.secret), expires_at, listed, tenant=tenant
    )
    return Issued(text, dict(rows[0]))


async def every(database: Database, tenant: str) -> list[dict[str, Any]]:
    """The keys of `tenant`, oldest first, the revoked ones too. Raises Unavailable."""
    return [dict(row) for row in await database.fetch(_EVERY, tenant, tenant=tenant)]


async def revoke(database: Database, tenant: str, key_id: str) -> bool:
    """End a key; False if there is none, or it has ended. Raises Unavailable."""
    return bool(await database.fetch(_REVOKE, tenant, key_id, tenant=tenant))


async def rotate(
    database: Database, env: str, tenant: str, key_id: str, *, overlap_s: float, within: Scopes
) -> Issued | None:
    """A new key in place of an old one, which works for `overlap_s` seconds more; None if there is none.

    The new one can do as much and lives as long. Raises NotYours if that is more than `within`; Unavailable.
    """
    rows = await database.fetch(_LIVING, tenant, key_id, tenant=tenant)
    if not rows:
        return None
    name, role, scopes, expires_at = rows[0]
    kept = None if scopes is None else frozenset(Scope(scope) for scope in scopes)
    if not (ROLES[Role(role)] if kept is None else kept) <= within:
        raise NotYours
    issued = await issue(database, env, tenant, name, Role(role), scopes=kept, expires_at=expires_at)
    await database.fetch(_EXPIRE, tenant, key_id, overlap_s, tenant=tenant)
    return issued

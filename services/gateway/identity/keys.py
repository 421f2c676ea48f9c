"""API keys in the database: issue, list, rotate with an overlap, revoke."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from libs.common.db import Database
from libs.common.errors import ArgosyError
from libs.common.ledger.durability import CONFIRMED
from services.gateway.identity.key_format import new_key, secret_hash
from services.gateway.identity.scopes import ROLES, Role, Scope, Scopes

_COLUMNS = "id, name, role, scopes, created_at, expires_at, revoked_at"
_TENANT = "INSERT INTO identity.tenants (id) VALUES ($1) ON CONFLICT DO NOTHING"
_KEY = f"""
INSERT INTO identity.keys (id, tenant, name, role, secret_sha256, expires_at, scopes)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING {_COLUMNS}
"""  # noqa: S608 - made of constants
_ALL = f"SELECT {_COLUMNS} FROM identity.keys WHERE tenant = $1 ORDER BY created_at, id"  # noqa: S608
_REVOKE = f"""
WITH revoked AS (
  UPDATE identity.keys SET revoked_at = now() WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL RETURNING id)
SELECT true FROM revoked UNION ALL SELECT NOT {CONFIRMED} WHERE NOT EXISTS (SELECT FROM revoked)
"""  # noqa: S608 - made of constants
_VALID = """
SELECT name, role, scopes, expires_at FROM identity.keys
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
_EXPIRE = """
UPDATE identity.keys SET expires_at = least(expires_at, now() + $3 * interval '1 second')
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL
"""


class ScopesExceeded(ArgosyError):
    """The key has scopes that the caller does not have, so the caller may not issue one like it."""


class Issued(NamedTuple):
    """A new key as text, which is shown once, and the facts that later listings show."""

    key: str
    facts: dict[str, Any]


async def ensure_tenant(database: Database, tenant: str) -> None:
    """Create `tenant` unless it exists. Raises Unavailable."""
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
    """Create a key for `tenant`. `scopes` None means all scopes of the role. Raises Unavailable."""
    text, parts = new_key(env)
    await ensure_tenant(database, tenant)
    listed = None if scopes is None else orjson.dumps(sorted(scopes)).decode()
    rows = await database.fetch(
        _KEY, parts.id, tenant, name, role.value, secret_hash(parts.secret), expires_at, listed, tenant=tenant
    )
    return Issued(text, dict(rows[0]))


async def list_all(database: Database, tenant: str) -> list[dict[str, Any]]:
    """All keys of `tenant`, oldest first, including revoked ones. Raises Unavailable."""
    return [dict(row) for row in await database.fetch(_ALL, tenant, tenant=tenant)]


async def revoke(database: Database, tenant: str, key_id: str) -> bool:
    """Revoke a key; False if there is no such key or it is revoked already. Raises Unavailable."""
    ((revoked,),) = await database.fetch(_REVOKE, tenant, key_id, tenant=tenant)
    return bool(revoked)


async def rotate(
    database: Database, env: str, tenant: str, key_id: str, *, overlap_s: float, within: Scopes
) -> Issued | None:
    """Replace a key by a new one; the old one works for `overlap_s` seconds more. None if there is no such key.

    The new key has the same scopes and expiry. Raises ScopesExceeded if its scopes are not all in `within`;
    Unavailable.
    """
    rows = await database.fetch(_VALID, tenant, key_id, tenant=tenant)
    if not rows:
        return None
    name, role, scopes, expires_at = rows[0]
    kept = None if scopes is None else frozenset(Scope(scope) for scope in scopes)
    if not (ROLES[Role(role)] if kept is None else kept) <= within:
        raise ScopesExceeded
    issued = await issue(database, env, tenant, name, Role(role), scopes=kept, expires_at=expires_at)
    await database.fetch(_EXPIRE, tenant, key_id, overlap_s, tenant=tenant)
    return issued

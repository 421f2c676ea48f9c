"""API keys in the database: issue, list, rotate with an overlap, revoke."""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson

from libs.common.db import Connection, Database, fetch_within
from libs.common.errors import Misconfigured
from libs.common.ledger.durability import CONFIRMED
from libs.common.ledger.making import MadeBefore, Once, making, remember
from libs.common.ledger.schedules import FLEET_TENANT
from services.gateway.config import KEYS_AT_MOST
from services.gateway.identity.key_format import (
    ParsedKey,
    derived_secret,
    new_key,
    secret_hash,
    text_of,
)
from services.gateway.identity.scopes import Role, Scope, Scopes
from services.gateway.problems import Conflict, TooManyKeys

_COLUMNS = "id, name, role, scopes, created_at, expires_at, revoked_at"
_LIVING = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())"
"""By the time of the statement: that of the transaction is from before its turn came."""
_TENANT = "INSERT INTO identity.tenants (id) VALUES ($1) ON CONFLICT DO NOTHING"
_KIND = "keys"
_KEY = f"""
INSERT INTO identity.keys (id, tenant, name, role, secret_sha256, expires_at, scopes)
SELECT $1::text, $2::text, $3::text, $4::text, $5::bytea, $6::timestamptz, $7::jsonb
WHERE (SELECT count(*) FROM identity.keys WHERE tenant = $2 AND {_LIVING}) < $8::int
RETURNING {_COLUMNS}
"""  # noqa: S608 - made of constants
_PAGE = f"""
SELECT {_COLUMNS} FROM identity.keys
WHERE tenant = $1 AND (created_at, id) > (
  CASE $2::text WHEN '' THEN '-infinity'
  ELSE (SELECT created_at FROM identity.keys WHERE tenant = $1 AND id = $2) END, $2::text)
ORDER BY created_at, id LIMIT $3
"""  # noqa: S608 - made of constants
_MADE_BEFORE = f"SELECT secret_sha256, {_COLUMNS} FROM identity.keys WHERE tenant = $1 AND id = $2"  # noqa: S608
_RIGHTS = "SELECT role, scopes FROM identity.keys WHERE tenant = $1 AND id = $2"
_REVOKE = f"""
WITH revoked AS (
  UPDATE identity.keys SET revoked_at = now() WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL RETURNING id)
SELECT true FROM revoked UNION ALL SELECT NOT {CONFIRMED} WHERE NOT EXISTS (SELECT FROM revoked)
"""  # noqa: S608 - made of constants
_VALID = f"SELECT name, role, scopes, expires_at FROM identity.keys WHERE tenant = $1 AND id = $2 AND {_LIVING}"  # noqa: S608
_EXPIRE = """
UPDATE identity.keys SET expires_at = least(expires_at, statement_timestamp() + $3::float8 * interval '1 second')
WHERE tenant = $1 AND id = $2 AND revoked_at IS NULL
"""


class Rights(NamedTuple):
    """What a key may do. `scopes` None means all scopes of the role."""

    role: Role
    scopes: Scopes | None

    @classmethod
    def of(cls, role: str, scopes: Iterable[str] | None) -> "Rights":
        """The rights in a row of the table."""
        return cls(Role(role), None if scopes is None else frozenset(Scope(scope) for scope in scopes))


class Issued(NamedTuple):
    """A new key as text, which is shown once, and the facts that later listings show."""

    key: str
    facts: dict[str, Any]
    is_repeat: bool = False
    """The request has come before, and this is the key that it made."""


@dataclass(frozen=True, slots=True)
class OneKey:
    """A request to make a key that may come again.

    The secret of its key is derived from `server_secret`, so that it can be shown again without being stored.
    Without `server_secret` it cannot. Another caller who sends the same derives another secret.
    """

    once: Once
    caller: str
    server_secret: bytes | None

    def secret_of(self, tenant: str) -> Callable[[str], str] | None:
        """What derives the secret of its key from the key's id; None without `server_secret`."""
        if self.server_secret is None:
            return None
        return partial(derived_secret, self.server_secret, tenant, self.caller, self.once.key)


async def ensure_tenant(database: Database, tenant: str) -> None:
    """Create `tenant` unless it exists. Raises Misconfigured if the fleet has that name; Unavailable."""
    if tenant == FLEET_TENANT:
        raise Misconfigured(f"No tenant can be named {tenant!r}: the fleet's own jobs are.")
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
    at_most: int = KEYS_AT_MOST,
    one: OneKey | None = None,
) -> Issued:
    """Create a key for `tenant`, or find the one that `one` has made before.

    `scopes` None means all scopes of the role. Raises TooManyKeys if `at_most` keys of the tenant can be used;
    OtherRequest; Conflict if the key made before cannot be shown; Misconfigured as `ensure_tenant`; Unavailable.
    """
    await ensure_tenant(database, tenant)
    try:
        async with making(database, tenant, _KIND, one.once if one else None) as connection:
            return await _insert(connection, env, tenant, name, Rights(role, scopes), expires_at, at_most, one)
    except MadeBefore as before:
        return await _shown_again(database, env, tenant, before.made, one)


async def page(database: Database, tenant: str, *, after: str = "", limit: int) -> list[dict[str, Any]]:
    """Keys of `tenant` behind the key `after`, oldest first, including revoked ones. Raises Unavailable."""
    return [dict(row) for row in await database.fetch(_PAGE, tenant, after, limit, tenant=tenant)]


async def rights(database: Database, tenant: str, key_id: str) -> Rights | None:
    """What a key may do, or might while it could be used; None if there is no such key. Raises Unavailable."""
    rows = await database.fetch(_RIGHTS, tenant, key_id, tenant=tenant)
    return Rights.of(*rows[0]) if rows else None


async def revoke(database: Database, tenant: str, key_id: str) -> bool:
    """Revoke a key; False if there is no such key or it is revoked already. Raises Unavailable."""
    ((revoked,),) = await database.fetch(_REVOKE, tenant, key_id, tenant=tenant)
    return bool(revoked)


async def rotate(
    database: Database,
    env: str,
    tenant: str,
    key_id: str,
    *,
    overlap_s: float,
    at_most: int = KEYS_AT_MOST,
    one: OneKey | None = None,
) -> Issued | None:
    """Replace a key by a new one; the old one works for `overlap_s` seconds more. None if there is no such key.

    The new key has the same rights and expiry. Both count until the old one has ended. Raises what `issue` raises.
    """
    try:
        async with making(database, tenant, _KIND, one.once if one else None) as connection:
            rows = await fetch_within(connection, _VALID, tenant, key_id)
            if not rows:
                return None
            name, role, scopes, expires_at = rows[0]
            await fetch_within(connection, _EXPIRE, tenant, key_id, overlap_s)
            rights = Rights.of(role, scopes)
            return await _insert(connection, env, tenant, name, rights, expires_at, at_most, one)
    except MadeBefore as before:
        return await _shown_again(database, env, tenant, before.made, one)


async def _shown_again(database: Database, env: str, tenant: str, key_id: str, one: OneKey | None) -> Issued:
    """The key that `one` has made before. Raises Conflict, Unavailable."""
    (row,) = await database.fetch(_MADE_BEFORE, tenant, key_id, tenant=tenant)
    secret_sha256, *_ = row
    facts = {name: value for name, value in row.items() if name != "secret_sha256"}
    if facts["revoked_at"] is not None:
        raise Conflict(f"This request has made the key {key_id}, which has been revoked since.")
    secret_of = one.secret_of(tenant) if one else None
    parts = ParsedKey(env, key_id, secret_of(key_id)) if secret_of else None
    if not parts or not hmac.compare_digest(secret_hash(parts.secret), secret_sha256):
        raise Conflict(f"This request has made the key {key_id}, which cannot be shown again: revoke it.")
    return Issued(text_of(parts), facts, is_repeat=True)


async def _insert(
    connection: Connection,
    env: str,
    tenant: str,
    name: str,
    given: Rights,
    expires_at: datetime | None,
    at_most: int,
    one: OneKey | None,
) -> Issued:
    text, parts = new_key(env, one.secret_of(tenant) if one else None)
    listed = None if given.scopes is None else orjson.dumps(sorted(given.scopes)).decode()
    secret = secret_hash(parts.secret)
    values = (parts.id, tenant, name, given.role.value, secret, expires_at, listed, at_most)
    rows = await fetch_within(connection, _KEY, *values)
    if not rows:
        raise TooManyKeys(
            f"The tenant has {at_most} keys that can be used, and may not have more.", max_keys=at_most
        )
    await remember(connection, tenant, one.once if one else None, parts.id)
    return Issued(text, dict(rows[0]._mapping))

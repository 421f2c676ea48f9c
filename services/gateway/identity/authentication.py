"""Authentication: `Authorization: Bearer` with an API key (key_format.py) or a token (tokens.py).

Keys and tenants are cached for less than a second, and a change of one is published so that all gateways read it
again. So a revoked key works nowhere after a second, even if the message is lost.
"""

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from libs.common.batching import Batcher
from libs.common.bus import Bus
from libs.common.db import PROMPT_S, Database
from libs.common.redaction import KEY_PREFIX
from services.gateway.identity.key_format import parse_key, secret_hash
from services.gateway.identity.scopes import ROLES, Principal, Role, Scope
from services.gateway.identity.tokens import Identity, Tokens
from services.gateway.limits.policies import BadLimit, Policy, adjusted_for_tenant
from services.gateway.problems import Unauthenticated

CACHED_FOR_S = 0.8
"""Seconds until a cached row is read again. Lookups at the same time share a query."""
CACHED_AT_MOST = 10_000
LIMITS_CACHED_AT_MOST = 1_000
SUBJECT = "identity.changed"
"""The NATS subject of messages that name a changed key or tenant."""

_KEYS = """
SELECT k.id, k.tenant, k.role, k.scopes, k.secret_sha256, k.expires_at,
       (SELECT jsonb_object_agg(policy, figure) FROM identity.limits l WHERE l.tenant = k.tenant)
FROM identity.keys k
WHERE k.id = ANY($1::text[]) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
"""
_TENANTS = """
SELECT t.id, (SELECT jsonb_object_agg(policy, figure) FROM identity.limits l WHERE l.tenant = t.id)
FROM identity.tenants t WHERE t.id = ANY($1::text[])
"""


@dataclass(slots=True)
class _Cached:
    tenant: str
    until: float
    policies: Mapping[str, Policy]
    principal: Principal | None = None
    secret_sha256: bytes = b""


class Authenticator:
    """Authenticates callers, with a cache before the database. `policies` apply to tenants without own limits."""

    def __init__(
        self, database: Database, bus: Bus, *, env: str, policies: Mapping[str, Policy], tokens: Tokens
    ) -> None:
        self._db = database
        self._bus = bus
        self._env = env
        self._policies = policies
        self._tokens = tokens
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._adjusted_policies: dict[bytes, Mapping[str, Policy]] = {}
        self._reading_keys: Batcher[str, Any] = Batcher(lambda ids: self._read(_KEYS, ids))
        self._reading_tenants: Batcher[str, Any] = Batcher(lambda ids: self._read(_TENANTS, ids))

    async def principal(self, authorization: str) -> Principal:
        """The caller with this Authorization header. Raises Unauthenticated, or Unavailable without a database."""
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if not credential or scheme.lower() != "bearer":
            raise Unauthenticated
        if credential.startswith(KEY_PREFIX):
            return await self._by_key(credential)
        return await self._by_token(await self._tokens.verify(credential))

    async def listen(self) -> None:
        """Receive changes from all gateways, for ever."""
        async with self._bus.listening(SUBJECT, self._receive):
            await asyncio.Event().wait()

    async def changed(self, *, key: str | None = None, tenant: str | None = None) -> None:
        """Make every gateway read a changed key, or a tenant's changed limits, again."""
        message = orjson.dumps({"key": key, "tenant": tenant})
        self._receive(message)
        await self._bus.publish(SUBJECT, message)

    def _receive(self, message: bytes) -> None:
        changed = orjson.loads(message)
        if changed["key"]:
            self._cache.pop(f"key {changed['key']}", None)
        if changed["tenant"]:
            for name in [name for name, cached in self._cache.items() if cached.tenant == changed["tenant"]]:
                del self._cache[name]

    async def _by_key(self, text: str) -> Principal:
        parsed = parse_key(text)
        if parsed is None or parsed.env != self._env:
            raise Unauthenticated("That is not a key of this environment.")
        cached = self._fresh(f"key {parsed.id}") or self._cache_key(await self._reading_keys(parsed.id))
        if cached is None or not hmac.compare_digest(cached.secret_sha256, secret_hash(parsed.secret)):
            raise Unauthenticated("That key is unknown, expired or revoked.")
        assert cached.principal is not None  # noqa: S101 - a cached key has one
        return cached.principal

    async def _by_token(self, identity: Identity) -> Principal:
        name = f"tenant {identity.tenant}"
        cached = self._fresh(name) or self._cache_tenant(await self._reading_tenants(identity.tenant))
        if cached is None:
            raise Unauthenticated("The token's tenant is unknown here.")
        return Principal(identity.user, identity.tenant, identity.role, ROLES[identity.role], cached.policies)

    def _fresh(self, name: str) -> _Cached | None:
        cached = self._cache.get(name)
        if cached is None:
            return None
        return cached if time.monotonic() < cached.until else None

    def _cache_key(self, row: Any) -> _Cached | None:
        if row is None:
            return None
        read_at, (key_id, tenant, role, scopes, secret_sha256, expires_at, limits) = row
        cached = self._put(f"key {key_id}", tenant, limits, read_at, expires_at)
        allowed = ROLES[Role(role)] if scopes is None else frozenset(Scope(scope) for scope in scopes)
        cached.principal = Principal(key_id, tenant, Role(role), allowed, cached.policies)
        cached.secret_sha256 = secret_sha256
        return cached

    def _cache_tenant(self, row: Any) -> _Cached | None:
        if row is None:
            return None
        read_at, (tenant, limits) = row
        return self._put(f"tenant {tenant}", tenant, limits, read_at)

    def _put(
        self,
        name: str,
        tenant: str,
        limits: Mapping[str, str] | None,
        read_at: float,
        expires_at: datetime | None = None,
    ) -> _Cached:
        expires_in_s = float("inf") if expires_at is None else expires_at.timestamp() - time.time()
        until = min(read_at + CACHED_FOR_S, time.monotonic() + expires_in_s)
        cached = _Cached(tenant, until, self._policies_with(limits))
        self._cache[name] = cached
        self._cache.move_to_end(name)
        if len(self._cache) > CACHED_AT_MOST:
            self._cache.popitem(last=False)
        return cached

    def _policies_with(self, limits: Mapping[str, str] | None) -> Mapping[str, Policy]:
        if not limits:
            return self._policies
        name = orjson.dumps(limits, option=orjson.OPT_SORT_KEYS)
        policies = self._adjusted_policies.get(name)
        if policies is None:
            try:
                policies = adjusted_for_tenant(self._policies, limits)
            except BadLimit:  # written by a newer version: this one ignores limits that it cannot read
                policies = self._policies
            if len(self._adjusted_policies) >= LIMITS_CACHED_AT_MOST:
                self._adjusted_policies.clear()
            self._adjusted_policies[name] = policies
        return policies

    async def _read(self, sql: str, ids: list[str]) -> list[Any]:
        read_at = time.monotonic()  # before the query, because later changes may not be in its result
        found = await self._db.fetch(sql, list(dict.fromkeys(ids)), timeout_s=PROMPT_S)
        rows = {row[0]: (read_at, tuple(row)) for row in found}
        return [rows.get(id_) for id_ in ids]

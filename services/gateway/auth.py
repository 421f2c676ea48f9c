"""Who is calling: `Authorization: Bearer`, with an API key (apikeys.py) or a token (tokens.py).

What is known of keys and tenants is remembered for a while; whoever changes it tells all gateways, and without
NATS nothing is believed for longer than a moment. So a revoked key works nowhere after a second.
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
from libs.common.db import Database
from services.gateway.apikeys import parse_key, secret_hash
from services.gateway.limits.policies import BadFigure, Policy, adjusted
from services.gateway.problems import Unauthenticated
from services.gateway.scopes import ROLES, Principal, Role, Scope
from services.gateway.tokens import Identity, Tokens

BELIEVED_FOR_S = 10.0
ALONE_BELIEVED_FOR_S = 0.8
"""How long without looking: as a rule; while NATS cannot tell of changes."""
REMEMBERED_AT_MOST = 10_000
SUBJECT = "identity.changed"
"""On the bus: the key or the tenant that was changed."""

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
class _Known:
    tenant: str
    believed_at: float
    until: float
    epoch: int
    policies: Mapping[str, Policy]
    principal: Principal | None = None
    secret_sha256: bytes = b""


class Callers:
    """Tells who calls, asking the database seldom. `policies`: the limits of whoever has none of its own."""

    def __init__(
        self, database: Database, bus: Bus, *, env: str, policies: Mapping[str, Policy], tokens: Tokens
    ) -> None:
        self._db = database
        self._bus = bus
        self._env = env
        self._policies = policies
        self._tokens = tokens
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._reading_keys: Batcher[str, Any] = Batcher(lambda ids: self._read(_KEYS, ids))
        self._reading_tenants: Batcher[str, Any] = Batcher(lambda ids: self._read(_TENANTS, ids))

    async def principal(self, authorization: str) -> Principal:
        """The caller with this Authorization header. Raises Unauthenticated, or Unavailable without a database."""
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        if not credential or scheme.lower() != "bearer":
            raise Unauthenticated
        if credential.startswith("argosy_"):
            return await self._by_key(credential)
        return await self._by_token(await self._tokens.verify(credential))

    async def listen(self) -> None:
        """Run for ever: hear of changes."""
        async with self._bus.listening(SUBJECT, self._hear):
            await asyncio.Event().wait()

    async def changed(self, *, key: str | None = None, tenant: str | None = None) -> None:
        """A key, or a tenant's limits, are not what they were: let every gateway look anew."""
        message = orjson.dumps({"key": key, "tenant": tenant})
        self._hear(message)
        await self._bus.publish(SUBJECT, message)

    def _hear(self, message: bytes) -> None:
        changed = orjson.loads(message)
        if changed["key"]:
            self._known.pop(f"key {changed['key']}", None)
        if changed["tenant"]:
            for name in [name for name, known in self._known.items() if known.tenant == changed["tenant"]]:
                del self._known[name]

    async def _by_key(self, text: str) -> Principal:
        parsed = parse_key(text)
        if parsed is None or parsed.env != self._env:
            raise Unauthenticated("That is not a key of this environment.")
        known = self._believed(f"key {parsed.id}") or self._learn_key(await self._reading_keys(parsed.id))
        if known is None or not hmac.compare_digest(known.secret_sha256, secret_hash(parsed.secret)):
            raise Unauthenticated("That key is unknown, expired or revoked.")
        assert known.principal is not None  # noqa: S101 - keys have one
        return known.principal

    async def _by_token(self, identity: Identity) -> Principal:
        name = f"tenant {identity.tenant}"
        known = self._believed(name) or self._learn_tenant(await self._reading_tenants(identity.tenant))
        if known is None:
            raise Unauthenticated("The token's tenant is unknown here.")
        return Principal(identity.user, identity.tenant, identity.role, ROLES[identity.role], known.policies)

    def _believed(self, name: str) -> _Known | None:
        known = self._known.get(name)
        if known is None:
            return None
        now = time.monotonic()
        told = self._bus.connected and known.epoch == self._bus.epoch
        if now >= known.until or (not told and now >= known.believed_at + ALONE_BELIEVED_FOR_S):
            return None
        return known

    def _learn_key(self, row: Any) -> _Known | None:
        if row is None:
            return None
        key_id, tenant, role, scopes, secret_sha256, expires_at, figures = row
        known = self._learn(f"key {key_id}", tenant, figures, expires_at)
        allowed = ROLES[Role(role)] if scopes is None else frozenset(Scope(scope) for scope in scopes)
        known.principal = Principal(key_id, tenant, Role(role), allowed, known.policies)
        known.secret_sha256 = secret_sha256
        return known

    def _learn_tenant(self, row: Any) -> _Known | None:
        return None if row is None else self._learn(f"tenant {row[0]}", row[0], row[1], None)

    def _learn(
        self, name: str, tenant: str, figures: Mapping[str, str] | None, expires_at: datetime | None
    ) -> _Known:
        now = time.monotonic()
        lives_s = float("inf") if expires_at is None else expires_at.timestamp() - time.time()
        until = now + min(BELIEVED_FOR_S, lives_s)
        known = _Known(tenant, now, until, self._bus.epoch, self._policies_with(figures))
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > REMEMBERED_AT_MOST:
            self._known.popitem(last=False)
        return known

    def _policies_with(self, figures: Mapping[str, str] | None) -> Mapping[str, Policy]:
        if not figures:
            return self._policies
        try:
            return adjusted(self._policies, figures)
        except BadFigure:  # entered by a newer version: what it does not know does not count
            return self._policies

    async def _read(self, sql: str, ids: list[str]) -> list[Any]:
        rows = {row[0]: row for row in await self._db.fetch(sql, list(dict.fromkeys(ids)))}
        return [rows.get(id_) for id_ in ids]

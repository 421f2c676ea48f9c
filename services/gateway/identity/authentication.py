"""Who is calling: `Authorization: Bearer`, with an API key (key_format.py) or a token (tokens.py).

What is known of keys and tenants is believed for a moment, and whoever changes it tells all gateways to look anew.
So a revoked key works nowhere after a second, whatever became of the telling.
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
from services.gateway.identity.key_format import parse_key, secret_hash
from services.gateway.identity.scopes import ROLES, Principal, Role, Scope
from services.gateway.identity.tokens import Identity, Tokens
from services.gateway.limits.policies import BadFigure, Policy, adjusted
from services.gateway.problems import Unauthenticated

BELIEVED_FOR_S = 0.8
"""How long without looking. Those who look at the same time share a query."""
REMEMBERED_AT_MOST = 10_000
FIGURES_AT_MOST = 1_000
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
    until: float
    policies: Mapping[str, Policy]
    principal: Principal | None = None
    secret_sha256: bytes = b""


class Authenticator:
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
        self._adjusted: dict[bytes, Mapping[str, Policy]] = {}
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
        return known if time.monotonic() < known.until else None

    def _learn_key(self, row: Any) -> _Known | None:
        if row is None:
            return None
        asked_at, (key_id, tenant, role, scopes, secret_sha256, expires_at, figures) = row
        known = self._learn(f"key {key_id}", tenant, figures, asked_at, expires_at)
        allowed = ROLES[Role(role)] if scopes is None else frozenset(Scope(scope) for scope in scopes)
        known.principal = Principal(key_id, tenant, Role(role), allowed, known.policies)
        known.secret_sha256 = secret_sha256
        return known

    def _learn_tenant(self, row: Any) -> _Known | None:
        if row is None:
            return None
        asked_at, (tenant, figures) = row
        return self._learn(f"tenant {tenant}", tenant, figures, asked_at)

    def _learn(
        self,
        name: str,
        tenant: str,
        figures: Mapping[str, str] | None,
        asked_at: float,
        expires_at: datetime | None = None,
    ) -> _Known:
        lives_s = float("inf") if expires_at is None else expires_at.timestamp() - time.time()
        until = min(asked_at + BELIEVED_FOR_S, time.monotonic() + lives_s)
        known = _Known(tenant, until, self._policies_with(figures))
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > REMEMBERED_AT_MOST:
            self._known.popitem(last=False)
        return known

    def _policies_with(self, figures: Mapping[str, str] | None) -> Mapping[str, Policy]:
        if not figures:
            return self._policies
        name = orjson.dumps(figures, option=orjson.OPT_SORT_KEYS)
        known = self._adjusted.get(name)
        if known is None:
            try:
                known = adjusted(self._policies, figures)
            except BadFigure:  # entered by a newer version: what this one does not know does not count
                known = self._policies
            if len(self._adjusted) >= FIGURES_AT_MOST:
                self._adjusted.clear()
            self._adjusted[name] = known
        return known

    async def _read(self, sql: str, ids: list[str]) -> list[Any]:
        asked_at = time.monotonic()  # what changes from here on may not be in the answer
        rows = {row[0]: (asked_at, tuple(row)) for row in await self._db.fetch(sql, list(dict.fromkeys(ids)))}
        return [rows.get(id_) for id_ in ids]

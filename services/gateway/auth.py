"""Who is calling. A key is `argosy_<env>_<id>_<secret>_<checksum>`; only a hash of its secret is kept.

The secret has 190 random bits, so a plain SHA-256 keeps it safe (OWASP ASVS 5.0, 6.5.2). The checksum lets a
mistyped or made-up key be refused without asking the database, as GitHub's tokens do.
"""

import hashlib
import hmac
import secrets
import string
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from starlette.requests import Request

from libs.common.db import Database
from services.gateway.problems import Forbidden, Unauthenticated

CACHED_FOR_S = 0.8
"""How long a key is believed without looking: also the longest a revoked one still works."""
CACHED_AT_MOST = 10_000

_ALPHABET = string.ascii_letters + string.digits


class Role(StrEnum):
    """What a key may do."""

    ADMIN = "admin"
    MEMBER = "member"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: the key is the user, the tenant owns the jobs."""

    key_id: str
    tenant: str
    role: Role


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A well-formed key taken apart."""

    env: str
    id: str
    secret: str


def new_key(env: str) -> tuple[str, ParsedKey]:
    """A fresh key as the caller sees it, the only time anybody does, and its parts."""
    parts = ParsedKey(env, _random(12), _random(32))
    body = f"argosy_{parts.env}_{parts.id}_{parts.secret}"
    return f"{body}_{_checksum(body)}", parts


def parse_key(text: str) -> ParsedKey | None:
    """The parts of a key whose checksum is right, or None."""
    body, _, checksum = text.rpartition("_")
    parts = body.split("_")
    if len(parts) != 4 or parts[0] != "argosy" or _checksum(body) != checksum:
        return None
    return ParsedKey(*parts[1:])


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


_FIND = """
SELECT tenant, role, secret_sha256, expires_at FROM identity.keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


@dataclass(slots=True)
class _Known:
    principal: Principal
    secret_sha256: bytes
    until: float


class Keys:
    """Checks keys against the database, remembering each for a moment."""

    def __init__(self, database: Database, env: str) -> None:
        self._db = database
        self._env = env
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def principal(self, request: Request) -> Principal:
        """The caller of `request`. Raises Unauthenticated, or Unavailable if the database is away."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if not text or scheme.lower() != "bearer":
            raise Unauthenticated
        parsed = parse_key(text.strip())
        if parsed is None or parsed.env != self._env:
            raise Unauthenticated("That is not a key of this environment.")
        known = self._known.get(parsed.id)
        if known is None or known.until < time.monotonic():
            known = await self._look_up(parsed.id)
        if known is None or not hmac.compare_digest(known.secret_sha256, secret_hash(parsed.secret)):
            raise Unauthenticated("That key is unknown, expired or revoked.")
        return known.principal

    def forget(self, key_id: str) -> None:
        """A key has been changed: look at it anew."""
        self._known.pop(key_id, None)

    async def _look_up(self, key_id: str) -> _Known | None:
        rows = await self._db.fetch(_FIND, key_id)
        if not rows:
            self._known.pop(key_id, None)
            return None
        tenant, role, secret_sha256, expires_at = rows[0]
        until = time.monotonic() + min(CACHED_FOR_S, _seconds_until(expires_at))
        known = _Known(Principal(key_id, tenant, Role(role)), secret_sha256, until)
        self._known[key_id] = known
        self._known.move_to_end(key_id)
        if len(self._known) > CACHED_AT_MOST:
            self._known.popitem(last=False)
        return known


def _seconds_until(moment: datetime | None) -> float:
    return float("inf") if moment is None else moment.timestamp() - time.time()


def may_write(principal: Principal) -> None:
    """Raises Forbidden for a key that may only read."""
    if principal.role is Role.READ:
        raise Forbidden("This key may only read.")


def may_administer(principal: Principal) -> None:
    """Raises Forbidden for all but admins."""
    if principal.role is not Role.ADMIN:
        raise Forbidden("This needs an admin's key.")


async def writer(request: Request) -> Principal:
    """The caller, who may write. Raises Unauthenticated, Forbidden, Unavailable."""
    principal: Principal = await request.app.state.keys.principal(request)
    may_write(principal)
    return principal


async def admin(request: Request) -> Principal:
    """The caller, who is an admin. Raises Unauthenticated, Forbidden, Unavailable."""
    principal: Principal = await request.app.state.keys.principal(request)
    may_administer(principal)
    return principal

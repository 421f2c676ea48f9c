"""Tokens: JWTs of an external issuer (Supabase, Auth0, Keycloak, …), and our own short-lived ones.

The gateway decides how a token must be signed, never the token itself: algorithms are pinned for each issuer, keys
come only from the configured address, and keys or addresses in the token's header are ignored (RFC 8725).
"""

import asyncio
import re
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import jwt
import orjson

from libs.common import log
from services.gateway.config import TokenSettings
from services.gateway.identity.scopes import Role
from services.gateway.problems import Unauthenticated

LIFE_S = 900
"""Lifetime of our own tokens, in seconds."""
LEEWAY_S = 30
JWKS_EVERY_S = 30.0
JWKS_LIFE_S = 3600.0
JWKS_TIMEOUT_S = 5.0
JWKS_AT_MOST = 256 * 1024
"""An issuer's keys are fetched at most once in JWKS_EVERY_S, even if many tokens name unknown keys, and again
after JWKS_LIFE_S, because the issuer may have withdrawn some. The response may have JWKS_AT_MOST bytes."""
AUDIENCE = "argosy"
_UNREADABLE = (jwt.PyJWTError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError)
"""A token is decoded before its signature is checked, and PyJWT foresees neither lists in lists nor 1e999."""
_REFUSED = "That token is not valid here, or has expired."

logger = log.get("tokens")


class Identity(NamedTuple):
    """The user, tenant and role that a token stands for."""

    user: str
    tenant: str
    role: Role


class Tokens:
    """Issues and verifies tokens."""

    def __init__(self, settings: TokenSettings, env: str) -> None:
        self._settings = settings
        self._issuer = f"argosy-{env}"
        self._jwks: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    @property
    def issues(self) -> bool:
        """Whether own tokens can be issued, which needs TOKEN_SECRET to sign them."""
        return self._settings.token_secret is not None

    def issue(self, identity: Identity) -> str:
        """A token for `identity` that expires after LIFE_S seconds."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": identity.user,
            "tenant": identity.tenant,
            "role": identity.role.value,
            "iat": now,
            "exp": now + LIFE_S,
        }
        return jwt.encode(claims, self._own_secret(), algorithm="HS256", headers={"typ": "at+jwt"})

    async def verify(self, token: str) -> Identity:
        """The identity that `token` stands for. Raises Unauthenticated."""
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            if issuer == self._issuer and self.issues:
                claims = self._decode(token, self._own_secret(), ["HS256"], AUDIENCE, self._issuer)
                return Identity(claims["sub"], claims["tenant"], Role(claims["role"]))
            if issuer is not None and issuer == self._settings.jwt_issuer:
                return self._external_identity(await self._decode_external(token))
        except _UNREADABLE as error:
            raise Unauthenticated(_REFUSED) from error
        raise Unauthenticated(_REFUSED)

    def _own_secret(self) -> str:
        assert self._settings.token_secret is not None  # noqa: S101 - callers check `issues` first
        return self._settings.token_secret.get_secret_value()

    async def _decode_external(self, token: str) -> dict[str, Any]:
        settings = self._settings
        if settings.jwt_secret is not None:
            key: Any = settings.jwt_secret.get_secret_value()
        else:
            key = await self._public_key(str(jwt.get_unverified_header(token).get("kid", "")))
        return self._decode(token, key, settings.algorithms, settings.jwt_audience, settings.jwt_issuer)

    def _decode(
        self, token: str, key: Any, algorithms: list[str], audience: str | None, issuer: str | None
    ) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return claims

    def _external_identity(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        if claims.get("typ") == "ID" or "at_hash" in claims or "nonce" in claims:
            raise Unauthenticated(
                "That is an ID token: it says who signed in, but gives no access. Send the access token."
            )
        tenant = settings.jwt_tenant or _claim(claims, settings.jwt_tenant_claim)
        role = _claim(claims, settings.jwt_role_claim)
        known = role if role in set(Role) else settings.jwt_role
        user = claims["sub"]
        if not _is_name(tenant) or not _is_name(user):
            raise ValueError("no tenant, or no subject")
        return Identity(f"jwt:{user}"[:255], tenant, Role(known))

    async def _public_key(self, kid: str) -> Any:
        """The issuer's key with the id `kid`. Raises Unauthenticated if it has none."""
        if kid not in self._jwks or time.monotonic() - self._fetched_at > JWKS_LIFE_S:
            async with self._fetching:
                if time.monotonic() - self._fetched_at > JWKS_EVERY_S:
                    self._fetched_at = time.monotonic()
                    await self._fetch_keys()
        if kid not in self._jwks:
            raise Unauthenticated(_REFUSED)
        return self._jwks[kid]

    async def _fetch_keys(self) -> None:
        """Fetch the issuer's current keys. If the issuer cannot be reached, the known keys stay."""
        try:
            document = await asyncio.to_thread(_read_json, str(self._settings.jwt_jwks_url))
            keys = jwt.PyJWKSet.from_dict(document).keys
        except (OSError, ValueError, jwt.PyJWTError) as error:
            logger.warning("jwks.unavailable", error=str(error))
            return
        self._jwks = {str(key.key_id): key.key for key in keys if key.public_key_use in (None, "sig")}


def _read_json(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=JWKS_TIMEOUT_S) as response:  # noqa: S310 - http(s), see config
        return orjson.loads(response.read(JWKS_AT_MOST))


def _is_name(claim: Any) -> TypeGuard[str]:
    """Whether a claim is text that can be stored: not with NUL, nor with half characters, which are no UTF-8."""
    return isinstance(claim, str) and claim != "" and re.search("[\0\ud800-\udfff]", claim) is None


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim at a dotted `path`, such as app_metadata.tenant; None if it is not there."""
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found

"""Tokens: those of an outside issuer and our own; what opens nothing."""

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.gateway.config import TokenSettings
from services.gateway.identity.scopes import Role
from services.gateway.identity.tokens import Tokens
from services.gateway.problems import Unauthenticated

ISSUER = "https://issuer.example.com/"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Issuer:
    """An issuer's key address, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                key = orjson.loads(jwt.algorithms.RSAAlgorithm.to_jwk(PRIVATE.public_key()))
                body = orjson.dumps({"keys": [key | {"kid": "one", "use": "sig", "alg": "RS256"}]})
                self.send_response(503 if issuer.away else 200)
                self.end_headers()
                self.wfile.write(b"" if issuer.away else body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks.json"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    started = Issuer()
    yield started
    started.close()


def settings(issuer: Issuer, **more: Any) -> TokenSettings:
    values = {"jwt_issuer": ISSUER, "jwt_audience": "argosy", "jwt_jwks_url": issuer.url, **more}
    return TokenSettings.model_validate(values)


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": "argosy", "sub": "ann", "tenant": "acme", "exp": now + 60, **more}


def signed(payload: dict[str, Any], key: Any = PRIVATE, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": "one", **header})


async def test_an_outside_token_says_who_calls(issuer: Issuer) -> None:
    tokens = Tokens(settings(issuer), "dev")
    assert await tokens.verify(signed(claims())) == ("jwt:ann", "acme", Role.MEMBER)
    assert (await tokens.verify(signed(claims(role="admin")))).role is Role.ADMIN
    assert (await tokens.verify(signed(claims(role="authenticated")))).role is Role.MEMBER
    nested = settings(issuer, jwt_tenant_claim="app_metadata.tenant", jwt_role="read")
    supabase = claims(app_metadata={"tenant": "blue"})
    assert await Tokens(nested, "dev").verify(signed(supabase)) == ("jwt:ann", "blue", Role.READ)
    assert issuer.asked == 2, "once for each process"


def forged() -> Iterator[tuple[str, str]]:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    good = signed(claims())
    yield "none", jwt.encode(claims(), None, algorithm="none")  # type: ignore[arg-type]
    yield "public key as secret", _hs256_with(PUBLIC_PEM, claims())
    yield "another key", signed(claims(), other)
    yield "its own key", signed(claims(), other, jwk={"kty": "RSA", "n": "AQAB", "e": "AQAB"})
    yield "its own address", signed(claims(), other, jku="http://127.0.0.1:9/keys")
    yield "path as kid", signed(claims(), other, kid="../../dev/null")
    yield "SQL as kid", signed(claims(), other, kid="' OR 1=1 --")
    yield "expired", signed(claims(exp=now - 120))
    yield "not yet", signed(claims(nbf=now + 300))
    yield "no end", signed({name: value for name, value in claims().items() if name != "exp"})
    yield "another audience", signed(claims(aud="shop"))
    yield "no audience", signed({name: value for name, value in claims().items() if name != "aud"})
    yield "another issuer", signed(claims(iss="https://evil.example.com/"))
    yield "a part of the issuer", signed(claims(iss=ISSUER[:-3]))
    yield "ID token", signed(claims(typ="ID"))
    yield "ID token by hash", signed(claims(at_hash="x"))
    yield "no tenant", signed({name: value for name, value in claims().items() if name != "tenant"})
    yield "tenant is no text", signed(claims(tenant=["acme"]))
    yield "changed", good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    yield "cut", good[: len(good) // 2]
    yield "no token", "a.b.c"
    yield "empty parts", ".."


def _hs256_with(secret: bytes, payload: dict[str, Any]) -> str:
    """PyJWT refuses to make such a token; an attacker does not."""
    import base64
    import hashlib
    import hmac

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    head = part(orjson.dumps({"alg": "HS256", "typ": "JWT", "kid": "one"})) + b"." + part(orjson.dumps(payload))
    return (head + b"." + part(hmac.digest(secret, head, hashlib.sha256))).decode()


@pytest.mark.parametrize(("name", "token"), list(forged()), ids=lambda value: value[:24])
async def test_s8_what_opens_nothing(issuer: Issuer, name: str, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await Tokens(settings(issuer), "dev").verify(token)


async def test_s9_unknown_keys_do_not_send_us_asking(issuer: Issuer) -> None:
    tokens = Tokens(settings(issuer), "dev")
    await tokens.verify(signed(claims()))
    for number in range(1000):
        with pytest.raises(Unauthenticated):
            await tokens.verify(signed(claims(), "x" * 32, "HS256", kid=f"key-{number}"))
    assert issuer.asked == 1
    issuer.away = True
    assert (await tokens.verify(signed(claims()))).user == "jwt:ann", "known keys are still known"


def test_a_secret_that_is_shared_and_settings_that_do_not_fit() -> None:
    secret = "a secret that only the two of us know"  # noqa: S105
    with_secret = {"jwt_issuer": ISSUER, "jwt_audience": "argosy", "jwt_secret": secret}
    identity = asyncio.run(
        Tokens(TokenSettings.model_validate(with_secret), "dev").verify(signed(claims(), secret, "HS256"))
    )
    assert identity.tenant == "acme"
    for wrong in (
        {"jwt_audience": ""},
        {"jwt_jwks_url": "https://x/"},
        {"jwt_algorithms": "RS256"},
        {"jwt_algorithms": "none"},
        {"jwt_secret": "short"},
        {"jwt_secret": None},
    ):
        with pytest.raises(ValueError, match=r"JWT|32"):
            TokenSettings.model_validate(with_secret | wrong)

"""Our own tokens, and what is read from an outside one."""

import base64
import time
from typing import Any

import jwt
import pytest

from services.gateway.config import TokenSettings
from services.gateway.identity.scopes import Role
from services.gateway.identity.tokens import LEEWAY_S, LIFE_S, Identity, Tokens, _claim
from services.gateway.problems import Unauthenticated

SECRET = "a secret of the tests, and of nobody else; long enough for any algorithm"  # noqa: S105
ANN = Identity("account:1", "acme", Role.READ)


def tokens(env: str = "dev", secret: str = SECRET) -> Tokens:
    return Tokens(TokenSettings.model_validate({"token_secret": secret}), env)


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "argosy-dev", "aud": "argosy", "sub": "x", "tenant": "acme", "role": "read", "exp": now + 60}
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


async def test_a_token_of_ours_says_whom_it_was_made_for() -> None:
    issued = tokens().issue(ANN)
    assert await tokens().verify(issued) == ANN
    claims = jwt.decode(issued, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == LIFE_S
    assert jwt.get_unverified_header(issued)["typ"] == "at+jwt"


async def test_a_token_of_another_environment_or_secret_opens_nothing() -> None:
    for other in (tokens(env="prod"), tokens(secret="another secret, as long as the first")):  # noqa: S106
        with pytest.raises(Unauthenticated):
            await other.verify(tokens().issue(ANN))


@pytest.mark.parametrize(
    "token",
    [
        signed(exp=int(time.time()) - LEEWAY_S - 10),
        signed(exp=None),
        signed(aud="shop"),
        signed(sub=None),
        signed(tenant=None),
        signed(role="god"),
        signed(role=None),
        signed(iss="argosy-staging"),
        signed(iss=None),
        signed(algorithm="HS512"),
    ],
    ids=[
        "over",
        "endless",
        "audience",
        "subject",
        "tenant",
        "role",
        "no role",
        "issuer",
        "no issuer",
        "algorithm",
    ],
)
async def test_what_is_signed_but_not_as_it_should_be_opens_nothing(token: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens().verify(token)
    assert (await tokens().verify(signed())).tenant == "acme", "while the whole one does"


@pytest.mark.parametrize("part", [0, 1])
async def test_what_is_nested_too_deeply_opens_nothing(part: int) -> None:
    deep = base64.urlsafe_b64encode(b'{"iss":' + b"[" * 20_000 + b"]" * 20_000 + b"}").decode().rstrip("=")
    parts = signed().split(".")
    parts[part] = deep
    with pytest.raises(Unauthenticated):
        await tokens().verify(".".join(parts))


async def test_without_a_secret_there_are_none() -> None:
    none = Tokens(TokenSettings.model_validate({}), "dev")
    assert (tokens().issues, none.issues) == (True, False)
    with pytest.raises(Unauthenticated):
        await none.verify(tokens().issue(ANN))


def test_a_claim_may_lie_deeper() -> None:
    claims = {"app": {"tenant": "blue", "none": None}, "tenant": "acme", "text": "x"}
    assert _claim(claims, "tenant") == "acme"
    assert _claim(claims, "app.tenant") == "blue"
    for path in ("app.none", "app.nothing", "text.length", "nothing.at.all", ""):
        assert _claim(claims, path) is None

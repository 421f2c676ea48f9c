"""POST /v1/auth/token: who gets a token, and how often one may guess."""

from pathlib import Path
from typing import Any

import httpx

from deploy.local.test_servers import Trio
from libs.common.db import Database
from services.gateway.identity.accounts import enter
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.integration.services.gateway.live import serving

PASSWORD = "correct horse battery"  # noqa: S105


async def test_signing_in(gateway: Gateway) -> None:
    await enter(gateway.database, "acme", "Ann@Example.com", Role.ADMIN, PASSWORD)
    client = gateway.anonymous()
    answer = await client.post("/v1/auth/token", json={"email": "ann@example.COM", "password": PASSWORD})
    assert (answer.status_code, answer.json()["expires_in"]) == (200, 900)
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert (await client.get("/v1/keys")).status_code == 200
    assert_problem(await client.get("/v1/queues"), 403, "forbidden")
    for body in (
        {"email": "ann@example.com", "password": "x"},
        {"email": "bob@example.com", "password": PASSWORD},
    ):
        problem = assert_problem(await client.post("/v1/auth/token", json=body), 401, "unauthenticated")
        assert problem["detail"] == "The e-mail or the password is wrong."
    (row,) = await gateway.database.fetch("SELECT password FROM identity.accounts")
    assert row[0].startswith("$argon2id$")


async def test_s11_five_guesses_in_fifteen_minutes(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    """At one account from many addresses, and from one address at many accounts; keys still open."""
    await enter(database, "acme", "ann@example.com", Role.MEMBER, PASSWORD)
    key = (await issue(database, "dev", "acme", "ann's", Role.MEMBER)).key
    options: dict[str, Any] = {
        "LIMITS": "",
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "TOKEN_SECRET": "a secret of the tests, and of nobody else",
    }
    async with (
        serving(servers, database_url, tmp_path, **options) as (live,),
        httpx.AsyncClient(timeout=60, base_url=live.url) as client,
    ):

        async def guess(email: str, address: str) -> int:
            body = {"email": email, "password": "guess"}
            answer = await client.post("/v1/auth/token", json=body, headers={"X-Forwarded-For": address})
            return answer.status_code

        spread = [await guess("ann@example.com", f"203.0.113.{number}") for number in range(8)]
        assert spread == [401] * 5 + [429] * 3
        one_place = [await guess(f"user{number}@example.com", "198.51.100.1") for number in range(8)]
        assert one_place == [401] * 5 + [429] * 3
        answer = await client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200

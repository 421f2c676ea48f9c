"""Who is calling: what opens nothing, and what stops opening."""

import asyncio
import time
from pathlib import Path

import asyncpg
import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import serving
from tests.integration.services.gateway.paths import filled

REVOKED_WITHIN_S = 1.0


async def test_s28_without_the_database_nobody_gets_in(gateway: Gateway, servers: Trio, database_url: str) -> None:
    """Not even who was known a moment ago, and through no door."""
    client = await gateway.client(operator=True, role=Role.ADMIN)
    assert (await client.get("/v1/limits")).status_code == 200
    name = database_url.rpartition("/")[2]
    elsewhere = await asyncpg.connect(servers.postgres.url)
    try:
        await elsewhere.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await elsewhere.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    finally:
        await elsewhere.close()
    await gateway.app.state.authenticator.changed(key=client.headers["authorization"].split("_")[2])
    for operation in OPERATIONS:
        answer = await client.request(operation.method, filled(operation.path))
        expected = (503,) if operation.scope else (200, 404, 415, 503)  # a page with a button is nobody's data
        assert answer.status_code in expected, (operation.path, answer.text)


async def test_s2_a_revoked_key_works_nowhere_a_second_later(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    async with serving(servers, database_url, tmp_path, number=3) as gateways:
        admin = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
        for _ in range(3):
            victim = await issue(database, "dev", "dev", "victim", Role.READ)
            async with httpx.AsyncClient(timeout=60, headers={"Authorization": f"Bearer {victim.key}"}) as client:
                calls = [client.get(f"{gateway.url}/v1/jobs") for gateway in gateways]
                assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 3
                headers = {"Authorization": f"Bearer {admin}"}
                path = f"{gateways[0].url}/v1/keys/{victim.facts['id']}"
                assert (await client.delete(path, headers=headers)).status_code == 204
                revoked_at, last_ok_at = time.monotonic(), 0.0
                while time.monotonic() < revoked_at + REVOKED_WITHIN_S + 0.5:
                    for gateway in gateways:
                        asked_at = time.monotonic()
                        if (await client.get(f"{gateway.url}/v1/jobs")).status_code == 200:
                            last_ok_at = asked_at
                assert last_ok_at - revoked_at < REVOKED_WITHIN_S


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer argosy_dev_a_b_c"])
async def test_without_a_key_nothing_is_told(gateway: Gateway, header: str | None) -> None:
    client = gateway.anonymous(**({"Authorization": header} if header else {}))
    for call in (client.get("/v1/jobs"), client.post("/v1/ocr", **upload()), client.get("/v1/jobs/job_1")):
        answer = await call
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_or_expired_key_opens_nothing(gateway: Gateway) -> None:
    for column in ("revoked_at", "expires_at"):
        client = await gateway.client()
        await gateway.database.fetch(f"UPDATE identity.keys SET {column} = now()")  # noqa: S608
        assert_problem(await client.get("/v1/jobs"), 401, "unauthenticated")

"""What each answer carries, and what the log says of a request."""

import httpx
import pytest

from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import LiveGateway


async def test_s24_every_answer_has_its_headers(gateway: Gateway) -> None:
    client = await gateway.client()
    answers = [
        await client.get("/v1/jobs"),
        await client.get("/v1/nowhere"),
        await gateway.anonymous().get("/v1/jobs"),
        await client.delete("/v1/jobs"),
        await client.post("/v1/ocr", **upload()),
        await client.get("/openapi.json"),
        await client.get("/livez"),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"].startswith("req_")
        assert "cache-control" in answer.headers
        assert "server" not in answer.headers


async def test_s21_secrets_are_not_logged(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    async with httpx.AsyncClient(
        timeout=60, base_url=live.url, headers={"Authorization": f"Bearer {key}"}
    ) as client:
        await client.get(
            "/v1/jobs?tag=canary-query", headers={"Cookie": "canary-cookie", "Traceparent": "canary-trace"}
        )
        made = (await client.post("/v1/keys", json={"name": "canary-body"})).json()
        await client.post("/v1/auth/token", json={"email": "a@b.c", "password": "canary-password"})
        await client.get("/v1/jobs/x%0d%0a{%22level%22:%22forged%22}")
        metrics_ = (await client.get("/metrics")).status_code
    logged = live.log.read_text()
    assert metrics_ == 404, "S27"
    for secret in (key.split("_")[3], made["key"].split("_")[3], "canary"):
        assert secret not in logged
    assert all(line.startswith("{") for line in logged.splitlines())
    stored = str(await database.fetch("SELECT k::text FROM identity.keys k"))
    assert key.split("_")[3] not in stored, "S1"


async def test_s22_a_bug_is_told_to_the_log_only(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await gateway.client()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("SELECT secret FROM somewhere")

    monkeypatch.setattr(gateway.app.state.authenticator, "principal", broken)
    problem = assert_problem(await client.get("/v1/jobs"), 500, "internal-error")
    assert "somewhere" not in str(problem)

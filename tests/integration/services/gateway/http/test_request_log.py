"""What each answer carries, and what the log says of a request."""

import asyncio
import socket

import httpx
import orjson
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


async def test_s21_keys_are_blotted_out_wherever_callers_put_them(live: LiveGateway, database: Database) -> None:
    """In every slot of a request: of our own log, of what libraries log, of answers and of metrics."""
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    secret, token = key.split("_")[3], "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.canary-signature"
    link = "1canary-link-canary-link-canary-link-canary-link-canary-link"
    async with httpx.AsyncClient(
        timeout=60, base_url=live.url, headers={"Authorization": f"Bearer {key}"}
    ) as client:
        answers = [
            *[
                await client.request(method, path.replace("{}", value))
                for value in (key, token, key.replace("_", "%5F"), f"x%0a{key}", f"Bearer%20{token}")
                for method, path in (
                    ("GET", "/v1/jobs/{}"), ("GET", "/v1/{}"), ("DELETE", "/v1/keys/{}"), ("GET", "/{}/x?y={}"),
                    ("GET", "/v1/jobs?tag={}"), ("GET", "/v1/jobs?{}=1"), ("POST", "/v1/queues/{}/pause"),
                )
            ],
            await client.get(f"/v1/unsubscribe/{link}"),
            await client.post(f"/v1/unsubscribe/{link}"),
            await client.get("/v1/jobs", headers={"Traceparent": key, "X-Forwarded-For": key, "Cookie": key}),
            await client.get("/v1/jobs", headers={"Authorization": f"Bearer x{key}"}),
            await client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}),
            await client.post("/v1/keys", json={"name": key, key: key}),
            await client.post("/v1/keys", content=f'{{"{key}"', headers={"Content-Type": "application/json"}),
            await client.post("/v1/ocr", **upload(name=f"{key}.png", options={key: token})),
            await client.post("/v1/ocr", **upload(name=f"{key}.png", content=b"no document")),
            await client.post("/v1/auth/token", json={"email": f"{key}@example.com", "password": token}),
        ]  # fmt: skip
        raw = await asyncio.to_thread(spoken, live.port, f"GET /{key} HTTP/9.9\r\n{key}\r\n\r\n")
    told = "".join(answer.text for answer in answers if answer.status_code >= 400) + raw
    async with httpx.AsyncClient(timeout=60) as inside:
        measured = (await inside.get(f"http://127.0.0.1:{probes_port(live)}/metrics")).text
    assert measured.count("argosy_http_requests_total{") > 5
    logged = live.log.read_text()
    assert logged.count("[redacted]") >= 20
    for text in (logged, told, measured):
        for hidden in (secret, "canary-signature", "canary-link"):
            assert hidden not in text


def probes_port(live: LiveGateway) -> int:
    lines = [orjson.loads(line) for line in live.log.read_text().splitlines()]
    return next(int(line["port"]) for line in lines if line["event"] == "probes.listening")


def spoken(port: int, request: str) -> str:
    """What the gateway answers to bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


async def test_s22_a_bug_is_told_to_the_log_only(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await gateway.client()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("SELECT secret FROM somewhere")

    monkeypatch.setattr(gateway.app.state.authenticator, "principal", broken)
    problem = assert_problem(await client.get("/v1/jobs"), 500, "internal-error")
    assert "somewhere" not in str(problem)

"""The security table: each threat that concerns the gateway so far, and the test that proves its defence.

S2 a revoked key · S3 rotation · S4 scopes · S5 another tenant's things · S7 extra fields · S10 forged addresses ·
S12 slow and large requests · S13 compressed bodies · S21, S22 what is logged and what is told · S23 smuggling ·
S24 headers and CORS · S27 what is public · S28 failing closed · S29 the last place, taken once. S6 is in
common/test_isolation.py, S25, streams, in test_events.py. S8, S9 and S11, tokens and passwords,
are in test_tokens.py.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.contracts.ids import public_id
from libs.common.db import Database
from libs.common.ledger.jobs import new_id
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role, Scope
from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import LiveGateway, serving
from tests.mailing import mailing
from tests.relay import Relay

REVOKED_WITHIN_S = 1.0


@pytest.fixture
async def live(servers: Trio, database_url: str, tmp_path: Path) -> AsyncIterator[LiveGateway]:
    async with serving(servers, database_url, tmp_path, LIMITS="ip=off, burst=off, api=off, search=off") as (one,):
        yield one


def filled(path: str) -> str:
    """A path with ids that nobody has."""
    for what in ("job", "schedule", "replay"):
        path = path.replace(f"/v1/{what}s/{{id}}", f"/v1/{what}s/{public_id(new_id(), what)}")
    path = path.replace("/v1/mail/{id}", f"/v1/mail/{public_id(new_id())}").replace("{address}", "a@b.test")
    return path.replace("{id}", "nobody").replace("{name}", "ocr").replace("{token}", "x")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.endpoint.__name__)
async def test_s4_every_operation_wants_its_scope(gateway: Gateway, operation: Any) -> None:
    """Every operation with every role: who has the scope gets past the door, nobody else does."""
    if operation.scope is None:
        assert operation.path in ("/v1/auth/token", "/v1/unsubscribe/{token}")
        return
    path = filled(operation.path)
    assert (await gateway.anonymous().request(operation.method, path)).status_code == 401
    for role in Role:
        answer = await (await gateway.client(role=role)).request(operation.method, path)
        assert (answer.status_code == 403) == (operation.scope not in ROLES[role]), (role, answer.text)
    answer = await (await gateway.client(operator=True, role=Role.READ)).request(operation.method, path)
    assert (answer.status_code == 403) == (operation.scope not in ROLES[Role.READ] | OPERATOR)


async def test_s4_a_key_has_no_more_scopes_than_it_was_given(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    made = await admin.post(
        "/v1/keys", json={"name": "web", "role": "admin", "scopes": ["ocr:write", "keys:write"]}
    )
    assert made.json()["scopes"] == ["keys:write", "ocr:write"]
    limited = gateway.anonymous(Authorization=f"Bearer {made.json()['key']}")
    assert (await limited.post("/v1/ocr", **upload())).status_code == 202
    assert_problem(await limited.get("/v1/jobs"), 403, "forbidden")
    for body in ({"name": "x", "role": "admin"}, {"name": "x", "scopes": [Scope.QUEUES_WRITE]}):
        assert_problem(await limited.post("/v1/keys", json=body), 403, "forbidden")
    assert (await limited.post("/v1/keys", json={"name": "x", "scopes": ["ocr:write"]})).status_code == 201


async def test_s4_rotating_gives_no_more_than_one_has(gateway: Gateway) -> None:
    admin, _ = await gateway.client(role=Role.ADMIN), await gateway.client(operator=True)
    keys = (await admin.get("/v1/keys")).json()["keys"]
    operators = next(key for key in keys if Scope.QUEUES_WRITE in (key["scopes"] or ()))
    assert_problem(await admin.post(f"/v1/keys/{operators['id']}/rotate", json={}), 403, "forbidden")
    body = {"name": "keeper", "role": "member", "scopes": ["keys:write", "jobs:read"]}
    keeper = gateway.anonymous(Authorization=f"Bearer {(await admin.post('/v1/keys', json=body)).json()['key']}")
    body = {"name": "x", "role": "admin", "scopes": ["jobs:read"]}
    assert_problem(await keeper.post("/v1/keys", json=body), 403, "forbidden")
    ending = (await admin.post("/v1/keys", json={"name": "y", "expires_at": "2999-01-01T00:00:00Z"})).json()
    rotated = (await admin.post(f"/v1/keys/{ending['id']}/rotate", json={})).json()
    assert rotated["expires_at"] == ending["expires_at"]


async def test_s5_what_another_tenant_has_is_not_there(
    gateway: Gateway, mail_database: Database, nats_bus: Bus, servers: Trio, tmp_path: Path
) -> None:
    """Every operation with an id in its path, with an id of another tenant: as if there were none."""
    mine, theirs = await gateway.client("mine", Role.ADMIN), await gateway.client("theirs", Role.ADMIN)
    document = (await theirs.post("/v1/ocr", **upload())).json()["id"]
    schedule = await theirs.post(
        "/v1/schedules", json={"name": "s", "queue": "ocr", "cron": "0 0 1 1 *", "payload": {"document": document}}
    )
    key = (await theirs.get("/v1/keys")).json()["keys"][0]["id"]
    await theirs.post(f"/v1/jobs/{document}/cancel")
    replay = await theirs.post("/v1/jobs/retry", json={"filter": {"queue": "ocr"}, "rate": 0.01})
    ids = {
        "mail": document,
        "jobs": document,
        "schedules": schedule.json()["id"],
        "keys": key,
        "replays": replay.json()["id"],
    }
    bodies: dict[str, Any] = {"change_schedule": {"paused": True}, "rotate_key": {}}
    tried = 0
    async with mailing(mail_database, nats_bus, servers, tmp_path, Relay()) as mailer, mailer.answering():
        for operation in OPERATIONS:
            kind = operation.path.split("/")[2]
            if "{id}" in operation.path and kind in ids:
                path = operation.path.replace("{id}", ids[kind]).replace("{name}", "text.txt")
                answer = await mine.request(operation.method, path, json=bodies.get(operation.endpoint.__name__))
                assert_problem(answer, 404, "not-found")
                tried += 1
    assert tried >= 13
    listed = [(await mine.get(path)).json() for path in ("/v1/jobs", "/v1/schedules")]
    assert (listed[0]["jobs"], listed[1]["schedules"]) == ([], [])
    assert (await theirs.get(f"/v1/schedules/{ids['schedules']}")).json()["paused"] is False


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


async def test_s3_rotation_under_load_fails_nobody(live: LiveGateway, database: Database) -> None:
    admin = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    key = await issue(database, "dev", "dev", "web", Role.READ)
    current, codes, over = key.key, set(), False

    async def load(client: httpx.AsyncClient) -> None:
        while not over:
            answer = await client.get("/v1/jobs", headers={"Authorization": f"Bearer {current}"})
            codes.add(answer.status_code)

    async with httpx.AsyncClient(
        timeout=60, base_url=live.url, headers={"Authorization": f"Bearer {admin}"}
    ) as client:
        loads = [asyncio.create_task(load(client)) for _ in range(4)]
        key_id = key.facts["id"]
        for _ in range(5):
            rotated = await client.post(f"/v1/keys/{key_id}/rotate", json={"overlap_s": 60})
            current, key_id = rotated.json()["key"], rotated.json()["id"]
            await asyncio.sleep(0.05)
        over = True
        await asyncio.gather(*loads)
    assert codes == {200}


async def test_s7_extra_fields_change_nothing(gateway: Gateway) -> None:
    client = await gateway.client()
    for name, value in {"tenant": "other", "state": "succeeded", "created_by": "x", "attempt": 9}.items():
        assert_problem(await client.post("/v1/ocr", **upload(options={name: value})), 422, "invalid")
    assert await gateway.database.fetch("SELECT 1 FROM ledger.jobs") == []


async def raw(live: LiveGateway, *parts: bytes, pause_s: float = 0.0, patience_s: float = 60.0) -> bytes:
    """Send `parts`, with a pause after each; everything that comes back until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(patience_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_s12_a_head_that_never_ends_is_cut_off(live: LiveGateway) -> None:
    begun = time.monotonic()
    never_sent, half_sent = await asyncio.gather(raw(live), raw(live, b"GET / HTTP/1.1\r\nHost: x\r\n"))
    assert (never_sent, half_sent) == (b"", b"")
    assert time.monotonic() - begun < 55, "long before the test would have given up"
    large = [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: " + b"a" * 16_000 + b"\r\n"] * 20]
    assert b"200" not in await raw(live, *large)


async def test_s12_a_head_that_grows_behind_an_answer_is_cut_off(live: LiveGateway) -> None:
    begun = [b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"] * 20
    sent = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port, limit=1024)
    with contextlib.suppress(ConnectionError, TimeoutError):
        for part in (*begun, b"GET / HTTP/1.1\r\n", *[b"X: " + b"a" * 16_000 + b"\r\n"] * 2_000):
            writer.write(part)
            async with asyncio.timeout(20):
                await writer.drain()
            sent += len(part)
    assert not reader.at_eof() or sent
    assert sent < 16_000_000, "what fits into the buffers of the two ends, and no more"
    writer.close()


async def test_s12_a_body_that_trickles_in_is_cut_off(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    head = (
        f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    answer = await raw(live, head.encode() + b"Content-Length: 9000\r\n\r\n{", *[b" "] * 10, pause_s=0.5)
    assert answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 503"))


async def test_s12_lengths_that_lie(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    head = (
        f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    head += "Connection: close\r\n"
    endless = itertools.repeat(b"10000\r\n" + b" " * 65_536 + b"\r\n", 12)
    answer = await raw(live, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", *endless)
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    both = (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    answer = await raw(live, head.encode() + both)
    assert answer.startswith(b"HTTP/1.1 400"), "S23"
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
        b"Content-Length: -1\r\n\r\n",
        b" folded: x\r\n\r\n",
        b"Bad Header: x\r\n\r\n",
    ],
)
async def test_s23_what_proxies_disagree_about_is_refused(live: LiveGateway, lines: bytes) -> None:
    answer = await raw(live, b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401")), answer
    assert answer.count(b"HTTP/1.1") == 1


async def test_s13_compressed_bodies_are_refused(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await admin.post("/v1/keys", content=b"\x1f\x8b" + bytes(100), headers=headers)
    assert_problem(answer, 415, "unsupported-media-type")


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


async def test_s24_only_known_origins_may_call(servers: Trio, database_url: str, tmp_path: Path) -> None:
    async with (
        serving(servers, database_url, tmp_path, CORS_ORIGINS="https://app.example.com") as (live,),
        httpx.AsyncClient(timeout=60, base_url=live.url) as client,
    ):

        async def allowed(origin: str) -> str | None:
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = await client.options("/v1/jobs", headers=headers)
            origin_allowed: str | None = answer.headers.get("access-control-allow-origin")
            return origin_allowed

        assert await allowed("https://app.example.com") == "https://app.example.com"
        for origin in (
            "https://evil-app.example.com",
            "https://app.example.com.evil.org",
            "null",
            "http://app.example.com",
        ):
            assert await allowed(origin) is None


async def test_s10_a_forged_address_is_no_new_address(servers: Trio, database_url: str, tmp_path: Path) -> None:
    async with (
        serving(servers, database_url, tmp_path, LIMITS="ip=5/min") as (live,),
        httpx.AsyncClient(timeout=60, base_url=live.url) as client,
    ):
        codes = []
        for number in range(8):
            headers = {"X-Forwarded-For": f"203.0.113.{number}", "Authorization": "Bearer argosy_guess"}
            codes.append((await client.get("/v1/jobs", headers=headers)).status_code)
        assert codes == [401] * 5 + [429] * 3


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


async def test_s29_the_last_place_is_taken_once(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"ocr": "1/h"}})
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload()) for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [202] + [429] * 29

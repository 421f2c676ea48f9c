"""The application as a whole: who may call it from a page, and when it is ready for what."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from deploy.local.test_servers import Trio, free_port
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import PUBLIC, Role
from tests.integration.services.gateway.live import ROOT, serving
from tests.network import Network
from tests.polling import PATIENCE_S, until


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


async def test_s24_any_page_may_send_events_with_a_public_key_and_do_nothing_else(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    page = {"Origin": "https://shop.example.net"}
    allowed = "access-control-allow-origin"
    keys = {
        name: (await issue(database, "dev", "dev", name, Role.MEMBER, scopes=scopes)).key
        for name, scopes in {"public": PUBLIC, "other": None}.items()
    }
    async with (
        serving(servers, database_url, tmp_path) as (live,),
        httpx.AsyncClient(timeout=60, base_url=live.url, headers=page) as client,
    ):
        asks = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        for path, may in (("/v1/events", "*"), ("/v1/jobs", None), ("/v1/events/rejected", None)):
            assert (await client.options(path, headers=asks)).headers.get(allowed) == may
        for name, may in (("public", "*"), ("other", None)):
            bearer = {"Authorization": f"Bearer {keys[name]}"}
            sent = await client.post("/v1/events", json={"events": [{"id": "7"}]}, headers=bearer)
            assert (sent.status_code, sent.headers.get(allowed)) == (202, may)
            wrong = await client.post("/v1/events", json={}, headers=bearer)
            assert (wrong.status_code, wrong.headers.get(allowed)) == (422, may)
            assert allowed not in (await client.get("/v1/jobs", headers=bearer)).headers
        assert allowed not in (await client.post("/v1/events", json={"events": [1]})).headers


async def status(port: int, path: str) -> int:
    """0 if nothing answers."""
    async with httpx.AsyncClient(timeout=60) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code
        except httpx.TransportError:
            return 0


async def test_two_kinds_of_readiness(servers: Trio, database_url: str, tmp_path: Path) -> None:
    """The probe port's is about taking requests, the public one's about jobs."""
    probes = free_port()
    way_to_postgres = Network(database_url)

    async def probed(path: str, expected: int) -> bool:
        return await status(probes, path) == expected

    async def public(expected: int) -> bool:
        return await status(live.port, "/readyz") == expected

    async with way_to_postgres.open():
        way_to_postgres.hold_up()
        starting = serving(
            servers, way_to_postgres.url, tmp_path, wait=False, PROBES_PORT=str(probes), GATEWAY_DRAIN_S="20",
            SHUTDOWN_GRACE_S="2",
        )  # fmt: skip
        async with starting as (live,):
            await until(lambda: probed("/livez", 200))
            assert await status(probes, "/readyz") == 503
            assert await status(live.port, "/readyz") == 0
            way_to_postgres.let_pass()
            await until(lambda: probed("/readyz", 200))
            await until(lambda: public(200))
            way_to_postgres.hold_up()
            await until(lambda: public(503))
            assert await status(probes, "/readyz") == 200
            live.process.terminate()
            await until(lambda: probed("/readyz", 503))
            assert await status(probes, "/livez") == 200


WITHOUT_DISPATCHER = """
from services.gateway.__main__ import main
from services.gateway.engine.dispatcher import Dispatcher

async def run(self):
    raise ZeroDivisionError

Dispatcher.run = run
main()
"""


async def test_a_gateway_whose_dispatcher_has_died_ends(servers: Trio, database_url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "DATABASE_URL": database_url, "REDIS_URL": servers.redis.urls["gateway"], "NATS_URL": servers.nats.url,
        "BLOB_URL": (tmp_path / "blobs").as_uri(), "PROBES_PORT": "0", "GATEWAY_PORT": str(free_port()),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT_DISPATCHER, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == os.EX_SOFTWARE
    assert b'"part":"run","essential":true' in output

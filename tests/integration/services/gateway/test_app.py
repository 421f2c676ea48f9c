"""The application as a whole: who may call it from a page."""

from pathlib import Path

import httpx

from deploy.local.test_servers import Trio
from tests.integration.services.gateway.live import serving


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

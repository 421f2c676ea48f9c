"""A caller's address over TCP."""

from pathlib import Path

import httpx

from deploy.local.test_servers import Trio
from tests.integration.services.gateway.live import serving


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

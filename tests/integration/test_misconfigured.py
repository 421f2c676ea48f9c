"""Every service whose settings a server refuses ends with one line that says which, and the exit code of that."""

import asyncio
from pathlib import Path

import pytest

from deploy.local.test_servers import Trio
from tests.analysing import SECRET
from tests.integration.test_stopping import SERVICES, started
from tests.polling import PATIENCE_S


@pytest.mark.parametrize("setting", ["NATS_URL", "DATABASE_URL"])
async def test_a_wrong_password(servers: Trio, database_url: str, tmp_path: Path, setting: str) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis.url,
        "NATS_URL": servers.nats.url,
        "BLOB_URL": (tmp_path / "blobs").as_uri(),
        "ANALYTICS_SECRET": SECRET,
        "SYNC_SECRET": SECRET,
        "LINK_SECRET": SECRET,
    }
    scheme, _, place = environment[setting].partition("://")
    wrong = f"{scheme}://argosy:wr0ng@{place.partition('@')[2]}"
    with started(environment | {setting: wrong}, tmp_path) as processes:
        ends = (asyncio.to_thread(process.popen.wait, PATIENCE_S) for process in processes)
        assert await asyncio.gather(*ends) == [2] * len(SERVICES)
    for process in processes:
        *_, last = process.log.read_text().splitlines()
        assert last.startswith(f"{setting}: ")
        assert "wr0ng" not in process.log.read_text()
        assert "Traceback" not in process.log.read_text()

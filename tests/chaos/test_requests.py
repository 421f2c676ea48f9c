"""Gateways that are killed while they carry out a request, and clients that send it again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.blobs import job_folder
from libs.common.contracts.ids import parse_id
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import upload
from tests.integration.services.gateway.live import LiveGateway, serving
from tests.polling import until

SECRET = "a secret of the tests, for keys, and of nobody else"  # noqa: S105
BODIES: dict[str, dict[str, Any]] = {
    "/v1/keys": {"name": "once"},
    "/v1/schedules": {
        "name": "once",
        "queue": "mailer",
        "cron": "0 0 1 1 *",
        "payload": {"from": "office@argosy.test", "to": ["ada@one.test"], "text": "Tides"},
    },
    "/v1/jobs/retry": {"filter": {"state": "cancelled"}, "rate": 0.001},
}
TABLES = {"/v1/keys": "identity.keys", "/v1/schedules": "ledger.schedules", "/v1/jobs/retry": "ledger.replays"}


@pytest.fixture
async def live(servers: Trio, database_url: str, tmp_path: Path) -> AsyncIterator[LiveGateway]:
    async with serving(servers, database_url, tmp_path, KEY_SECRET=SECRET) as (one,):
        yield one


async def killed(
    servers: Trio, url: str, folder: Path, point: str, method: str, path: str, **request: Any
) -> None:
    """Send a request to a gateway that is killed there."""
    command = ("tests.chaos.one_gateway", point)
    async with serving(servers, url, folder, command=command, KEY_SECRET=SECRET) as (dying,):
        async with httpx.AsyncClient(base_url=dying.url, timeout=60) as client:
            with pytest.raises(httpx.TransportError):
                pytest.fail((await client.request(method, path, **request)).text)
        assert dying.process.wait(60) == -9


@pytest.mark.parametrize(
    ("point", "path"),
    [
        ("remembered, not committed", "/v1/keys"),
        ("key made", "/v1/keys"),
        ("schedule made", "/v1/schedules"),
        ("replay made", "/v1/jobs/retry"),
    ],
)
async def test_what_is_sent_again_after_a_kill_is_made_once(
    servers: Trio, database_url: str, database: Database, live: LiveGateway, tmp_path: Path, point: str, path: str
) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=60) as client:
        job = (await client.post("/v1/ocr", **upload(), headers={"Idempotency-Key": "job"})).headers["location"]
        await client.post(job + "/cancel")
        ((before,),) = await database.fetch(f"SELECT count(*) FROM {TABLES[path]}")  # noqa: S608
        body = BODIES[path]
        await killed(servers, database_url, tmp_path, point, "POST", path, json=body, headers=headers)
        answers = [await client.post(path, json=body) for _ in range(2)]
    assert [answer.status_code < 300 for answer in answers] == [True, True], answers[0].text
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert answers[0].json().get("key") == answers[1].json().get("key")
    ((after,),) = await database.fetch(f"SELECT count(*) FROM {TABLES[path]}")  # noqa: S608
    assert after == before + 1


@pytest.mark.parametrize("point", ["removal begun", "row removed", "files removed"])
async def test_a_job_whose_removal_was_killed_leaves_nothing(
    servers: Trio, database_url: str, database: Database, live: LiveGateway, tmp_path: Path, point: str
) -> None:
    key = (await issue(database, "dev", "dev", "member", Role.MEMBER)).key
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=60) as client:
        path = (await client.post("/v1/ocr", **upload())).headers["location"]
        await client.post(path + "/cancel")
        job_id = parse_id(path.rpartition("/")[2])
        assert job_id is not None
        folder = tmp_path / "blobs" / job_folder("dev", job_id)
        assert folder.exists()
        await killed(servers, database_url, tmp_path, point, "DELETE", path, headers=headers)
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404

    async def is_empty() -> bool:
        return not any(part.is_file() for part in folder.rglob("*"))

    await until(is_empty)

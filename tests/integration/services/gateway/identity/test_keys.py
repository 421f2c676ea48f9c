"""Keys as they are kept and replaced."""

import asyncio

import httpx
import pytest

from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role, Scope
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import LiveGateway


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


async def test_no_secret_is_kept_anywhere(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    client = await gateway.client()
    await client.post("/v1/ocr", **upload())
    secret = client.headers["authorization"].split("_")[3]
    kept = str(await gateway.database.fetch("SELECT * FROM identity.keys"))
    kept += str(await gateway.database.fetch("SELECT * FROM ledger.jobs"))
    assert secret not in kept + "".join(capsys.readouterr())

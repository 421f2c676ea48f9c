"""Keys as they are kept and replaced."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from libs.common import db
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from services.gateway.config import KEYS_AT_MOST
from services.gateway.identity.keys import issue, page, revoke, rotate
from services.gateway.identity.scopes import Role, Scope
from services.gateway.problems import TooManyKeys
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


async def living(database: Database, tenant: str) -> int:
    ((number,),) = await database.fetch(
        "SELECT count(*) FROM identity.keys WHERE tenant = $1 AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now())",
        tenant,
    )
    return int(number)


async def test_a_thousand_at_once_make_as_many_keys_as_a_tenant_may_have(
    database: Database, database_settings: DatabaseSettings
) -> None:
    at_once = asyncio.Semaphore(50)

    async def is_made(process: Database) -> bool:
        async with at_once:
            try:
                await issue(process, "dev", "acme", "one of many", Role.READ)
            except TooManyKeys:
                return False
            return True

    async with db.connect(database_settings, "other", role=db.Role.GATEWAY) as other:
        made = await asyncio.gather(*(is_made(process) for _ in range(500) for process in (database, other)))
    assert sum(made) == await living(database, "acme") == KEYS_AT_MOST
    assert (await issue(database, "dev", "other", "one", Role.READ)).key, "another tenant has its own"


async def test_what_cannot_be_used_does_not_count(database: Database) -> None:
    made = [await issue(database, "dev", "acme", "one", Role.READ, at_most=2) for _ in range(2)]
    with pytest.raises(TooManyKeys):
        await issue(database, "dev", "acme", "one", Role.READ, at_most=2)
    assert await revoke(database, "acme", made[0].facts["id"])
    over = datetime.now(UTC) - timedelta(days=1)
    for _ in range(3):
        await issue(database, "dev", "acme", "over", Role.READ, expires_at=over, at_most=2)
    await issue(database, "dev", "acme", "one", Role.READ, at_most=2)
    assert await living(database, "acme") == 2


async def test_rotating_is_no_way_around_the_maximum(database: Database) -> None:
    kept, old = [await issue(database, "dev", "acme", "one", Role.READ, at_most=2) for _ in range(2)]
    key_id = old.facts["id"]
    with pytest.raises(TooManyKeys):
        await rotate(database, "dev", "acme", key_id, overlap_s=60, at_most=2)
    (before,) = await database.fetch("SELECT expires_at FROM identity.keys WHERE id = $1", key_id)
    assert before["expires_at"] is None, "the key that was to be replaced has not been touched"
    rotated = await asyncio.gather(
        *(rotate(database, "dev", "acme", key_id, overlap_s=0, at_most=2) for _ in range(5))
    )
    assert sum(new is not None for new in rotated) == 1
    assert await living(database, "acme") == 2
    assert await rotate(database, "dev", "acme", kept.facts["id"], overlap_s=60, at_most=3)
    assert await living(database, "acme") == 3


async def test_keys_come_in_pages_oldest_first(database: Database) -> None:
    made = [(await issue(database, "dev", "acme", f"{n}", Role.READ)).facts["id"] for n in range(7)]
    await issue(database, "dev", "other", "theirs", Role.READ)
    seen: list[str] = []
    while found := await page(database, "acme", after=seen[-1] if seen else "", limit=3):
        assert len(found) <= 3
        seen += [key["id"] for key in found]
    assert seen == made
    assert await page(database, "acme", after="unknown", limit=3) == []

"""/v1/keys: made, shown once, rotated with an overlap, revoked; by admins only, and only their tenant's."""

from typing import Any

import httpx
import pytest

from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.polling import until


async def made(admin: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("/v1/keys", json={"name": "web"} | fields)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def status(gateway: Gateway, key: str) -> int:
    async with gateway.anonymous(Authorization=f"Bearer {key}") as client:
        return (await client.get("/v1/jobs")).status_code


async def refused(gateway: Gateway, key: str) -> None:
    async def is_refused() -> bool:
        return await status(gateway, key) == 401

    await until(is_refused)


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    key = await made(admin, role="read")
    assert await status(gateway, key["key"]) == 200
    listed = (await admin.get("/v1/keys")).json()["keys"]
    assert [one["name"] for one in listed] == ["test", "web"]
    secret = key["key"].split("_")[3]
    assert secret not in str(listed)
    assert (await admin.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert await status(gateway, key["key"]) == 401
    assert_problem(await admin.delete(f"/v1/keys/{key['id']}"), 404, "not-found")


async def test_a_rotated_key_works_through_the_overlap(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    old = await made(admin, role="member")
    new = (await admin.post(f"/v1/keys/{old['id']}/rotate", json={})).json()
    assert (new["name"], new["role"]) == ("web", "member")
    assert [await status(gateway, key["key"]) for key in (old, new)] == [200, 200]
    newest = (await admin.post(f"/v1/keys/{new['id']}/rotate", json={"overlap_s": 0})).json()
    await refused(gateway, new["key"])
    assert await status(gateway, newest["key"]) == 200
    assert_problem(await admin.post(f"/v1/keys/{new['id']}/rotate", json={}), 404, "not-found")


async def test_a_key_ends_when_it_says(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    assert await status(gateway, (await made(admin, expires_at="2001-01-01T00:00:00Z"))["key"]) == 401
    assert await status(gateway, (await made(admin, expires_at="2999-01-01T00:00:00Z"))["key"]) == 200


async def test_keys_are_for_admins_and_their_own_tenant(gateway: Gateway) -> None:
    theirs = await made(await gateway.client("other", role=Role.ADMIN))
    admin = await gateway.client(role=Role.ADMIN)
    for call in (admin.delete(f"/v1/keys/{theirs['id']}"), admin.post(f"/v1/keys/{theirs['id']}/rotate", json={})):
        assert_problem(await call, 404, "not-found")
    for role in (Role.MEMBER, Role.READ):
        client = await gateway.client(role=role)
        for request in (client.get("/v1/keys"), client.post("/v1/keys", json={"name": "x", "role": "admin"})):
            assert_problem(await request, 403, "forbidden")
    assert await status(gateway, theirs["key"]) == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "x", "role": "god"}, "body.role"),
        ({"name": "x", "tenant": "other"}, "body.tenant"),
        ({"name": "x", "expires_at": "2999-01-01T00:00:00"}, "body.expires_at"),
    ],
)
async def test_what_makes_no_key_is_named(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    problem = assert_problem(await admin.post("/v1/keys", json=body), 422, "invalid")
    assert [error["field"] for error in problem["errors"]] == [field]

"""/v1/keys: made, shown once, rotated with an overlap, revoked; by admins only, and only their tenant's."""

import asyncio
from typing import Any

import httpx
import pytest

from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role, Scope
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


async def test_s4_a_key_changes_no_key_that_it_could_not_make(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    operators = await gateway.client(operator=True)
    listed = (await admin.get("/v1/keys")).json()["keys"]
    operator_id = next(key["id"] for key in listed if "queues:write" in (key["scopes"] or ()))
    full, member = await made(admin, role="admin"), await made(admin, role="member")
    narrow = await made(admin, role="admin", scopes=["jobs:read"])
    keeper = await made(admin, role="admin", scopes=["keys:write", "jobs:read"])
    lowly = (await issue(gateway.database, "dev", "dev", "x", Role.MEMBER, scopes=KEEPING)).key
    async with bearing(gateway, keeper["key"]) as weak, bearing(gateway, lowly) as lower:
        for client, key_id in (
            (weak, full["id"]),
            (weak, member["id"]),
            (lower, narrow["id"]),
            (admin, operator_id),
        ):
            for call in (client.delete(f"/v1/keys/{key_id}"), client.post(f"/v1/keys/{key_id}/rotate", json={})):
                assert_problem(await call, 403, "forbidden")
        assert (await weak.delete(f"/v1/keys/{narrow['id']}")).status_code == 204, "it could have made that one"
        assert (await weak.delete(f"/v1/keys/{keeper['id']}")).status_code == 204, "itself"
    assert [await status(gateway, key["key"]) for key in (full, member)] == [200, 200]
    assert (await operators.delete(f"/v1/keys/{operator_id}")).status_code == 403, "needs keys:write"


KEEPING = frozenset({Scope.KEYS_WRITE, Scope.JOBS_READ})


def bearing(gateway: Gateway, key: str) -> httpx.AsyncClient:
    return gateway.anonymous(Authorization=f"Bearer {key}")


async def test_a_tenant_has_so_many_keys_at_most(gateway: Gateway) -> None:
    state = gateway.app.state
    state.settings = state.settings.model_copy(update={"gateway_max_keys": 5})
    admin = await gateway.client(role=Role.ADMIN)
    answers = await asyncio.gather(*(admin.post("/v1/keys", json={"name": "web"}) for _ in range(9)))
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [409] * 5
    refusal = next(answer for answer in answers if answer.status_code == 409)
    assert assert_problem(refusal, 409, "too-many-keys")["max_keys"] == 5
    key = next(answer.json() for answer in answers if answer.status_code == 201)
    assert_problem(await admin.post(f"/v1/keys/{key['id']}/rotate", json={}), 409, "too-many-keys")
    assert await status(gateway, key["key"]) == 200
    assert (await admin.post(f"/v1/keys/{key['id']}/rotate", json={"overlap_s": 0})).status_code == 201
    await made(await gateway.client("other", role=Role.ADMIN))


async def secrets_of(gateway: Gateway, name: str) -> list[bytes]:
    rows = await gateway.database.fetch("SELECT secret_sha256 FROM identity.keys WHERE name = $1", name)
    return [row[0] for row in rows]


async def test_the_same_request_again_is_the_same_key_and_secret(gateway: Gateway) -> None:
    admin, headers = await gateway.client(role=Role.ADMIN), {"Idempotency-Key": "k-1"}
    posts = (admin.post("/v1/keys", json={"name": "once"}, headers=headers) for _ in range(9))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    (key,) = {answer.json()["key"] for answer in answers}
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 8]
    assert {answer.headers["idempotency-max-age"] for answer in answers} == {str(30 * 86_400)}
    assert await status(gateway, key) == 200
    assert len(await secrets_of(gateway, "once")) == 1
    kept = str(await gateway.database.fetch("SELECT * FROM identity.keys"))
    kept += str(await gateway.database.fetch("SELECT * FROM ledger.idempotency"))
    assert key.split("_")[3] not in kept
    assert_problem(
        await admin.post("/v1/keys", json={"name": "other"}, headers=headers), 422, "idempotency-mismatch"
    )
    other_kind = {"name": "s", "queue": "ocr", "cron": "0 0 1 1 *", "payload": {}}
    assert_problem(await admin.post("/v1/schedules", json=other_kind, headers=headers), 422, "invalid")
    elsewhere = await gateway.client("other", role=Role.ADMIN)
    assert (await elsewhere.post("/v1/keys", json={"name": "once"}, headers=headers)).json()["key"] != key


async def test_a_repeated_rotation_is_the_same_key(gateway: Gateway) -> None:
    admin, headers = await gateway.client(role=Role.ADMIN), {"Idempotency-Key": "r-1"}
    old = await made(admin)
    answers = [
        await admin.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 0}, headers=headers) for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["key"] for answer in answers}) == 1
    await refused(gateway, old["key"])
    other = await made(admin)
    again = await admin.post(f"/v1/keys/{other['id']}/rotate", json={"overlap_s": 0}, headers=headers)
    assert_problem(again, 422, "idempotency-mismatch")


async def test_s4_a_key_that_cannot_be_shown_again_is_named(gateway: Gateway) -> None:
    """To another caller, without the secret that it was derived from, or when it has been revoked."""
    admin, headers = await gateway.client(role=Role.ADMIN), {"Idempotency-Key": "k-1"}
    key = (await admin.post("/v1/keys", json={"name": "once"}, headers=headers)).json()

    async def is_named(client: httpx.AsyncClient) -> None:
        problem = assert_problem(
            await client.post("/v1/keys", json={"name": "once"}, headers=headers), 409, "conflict"
        )
        assert key["id"] in problem["detail"]
        assert key["key"].split("_")[3] not in str(problem)

    await is_named(await gateway.client(role=Role.ADMIN))
    state, settings = gateway.app.state, gateway.app.state.settings
    state.settings = settings.model_copy(update={"key_secret": None})
    await is_named(admin)
    unrepeatable = {"Idempotency-Key": "k-2"}
    assert (await admin.post("/v1/keys", json={"name": "two"}, headers=unrepeatable)).status_code == 201
    assert_problem(await admin.post("/v1/keys", json={"name": "two"}, headers=unrepeatable), 409, "conflict")
    assert len(await secrets_of(gateway, "two")) == 1
    state.settings = settings
    assert (await admin.delete(f"/v1/keys/{key['id']}")).status_code == 204
    await is_named(admin)


async def test_a_request_that_was_refused_may_come_again(gateway: Gateway) -> None:
    state, settings = gateway.app.state, gateway.app.state.settings
    admin, headers = await gateway.client(role=Role.ADMIN), {"Idempotency-Key": "k-1"}
    state.settings = settings.model_copy(update={"gateway_max_keys": 1})
    assert_problem(await admin.post("/v1/keys", json={"name": "x"}, headers=headers), 409, "too-many-keys")
    state.settings = settings
    answer = await admin.post("/v1/keys", json={"name": "x"}, headers=headers)
    assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)


async def test_keys_are_listed_in_pages(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    for _ in range(4):
        await made(admin)
    first = (await admin.get("/v1/keys?limit=3")).json()
    assert len(first["keys"]) == 3
    rest = (await admin.get(f"/v1/keys?limit=3&cursor={first['next_cursor']}")).json()
    assert len(rest["keys"]) == 2
    assert rest["next_cursor"] is None
    assert [*first["keys"], *rest["keys"]] == (await admin.get("/v1/keys")).json()["keys"]
    for query in ("limit=0", "limit=101", "cursor=x", "cursor='%3B--", "page=2"):
        assert_problem(await admin.get(f"/v1/keys?{query}"), 422, "invalid")


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

"""Limits as callers see them: on every answer, in GET /v1/limits, of one's own tenant, and while Redis is away."""

import asyncio

import pytest

from services.gateway.identity.scopes import Role
from services.gateway.identity.tokens import Identity
from tests.integration.services.gateway.gateway import LIMIT, Gateway, assert_problem, upload


async def test_every_answer_says_how_one_stands(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    figures = {"api": "5/min", "burst": "4/s"}
    answer = await operator.put("/v1/tenants/acme/limits", json={"limits": figures})
    assert answer.json() == {"tenant": "acme", "limits": figures}
    first = await client.get("/v1/jobs/job_none")
    assert_problem(first, 404, "not-found")
    assert first.headers["ratelimit-policy"] == '"burst";q=4;w=1, "api";q=5;w=60'
    assert first.headers["ratelimit"] == '"burst";r=3;t=1, "api";r=4;t=60'


async def test_my_limits(gateway: Gateway) -> None:
    client = await gateway.client()
    await client.post("/v1/ocr", **upload())
    for _ in range(2):  # asking costs nothing
        document = (await client.get("/v1/limits")).json()
        assert document["mode"] == "shared"
        (ocr,) = document["limits"]
        assert 3590 <= ocr.pop("resets_in_s") <= 3600
        shown = {"policy": "ocr", "per": "user", "limit": LIMIT, "window_s": 3600, "shadow": False}
        assert ocr == shown | {"remaining": LIMIT - 1}


async def test_a_tenants_own_figures_hold_at_once_and_for_nobody_else(gateway: Gateway) -> None:
    operator = await gateway.client(operator=True)
    acme, other = await gateway.client("acme"), await gateway.client("other")
    assert (await acme.get("/v1/jobs")).status_code == 200
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"search": "2/h"}})
    codes = [(await acme.get("/v1/jobs")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    assert [(await other.get("/v1/jobs")).status_code for _ in range(3)] == [200] * 3
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"search": "3/h"}})
    assert [(await acme.get("/v1/jobs")).status_code for _ in range(2)] == [200, 429]
    await operator.put("/v1/tenants/acme/limits", json={"limits": {}})
    assert (await acme.get("/v1/jobs")).status_code == 200
    assert (await operator.get("/v1/tenants/acme/limits")).json() == {"tenant": "acme", "limits": {}}


@pytest.mark.parametrize(
    "figures", [{"api": "many"}, {"api": "0/s"}, {"speed": "1/s"}, {"api": "3 at once"}, {"ip": "1/s"}]
)
async def test_figures_that_are_none(gateway: Gateway, figures: dict[str, str]) -> None:
    operator = await gateway.client("acme", operator=True)
    answer = await operator.put("/v1/tenants/acme/limits", json={"limits": figures})
    assert_problem(answer, 422, "invalid")


async def test_tenants_are_the_operators(gateway: Gateway) -> None:
    admin, operator = await gateway.client(role=Role.ADMIN), await gateway.client(operator=True)
    assert_problem(await admin.put("/v1/tenants/dev/limits", json={"limits": {}}), 403, "forbidden")
    assert_problem(await admin.get("/v1/tenants/dev/limits"), 403, "forbidden")
    assert_problem(await operator.get("/v1/tenants/nobody/limits"), 404, "not-found")


async def test_a_refused_request_costs_no_other_limit(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"search": "2/h", "burst": "50/h"}})
    answers = await asyncio.gather(*(client.get("/v1/jobs") for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 10
    standing = {limit["policy"]: limit for limit in (await client.get("/v1/limits")).json()["limits"]}
    assert standing["search"]["remaining"] == 0
    assert standing["burst"]["remaining"] == 50 - 2 - 1, "the two, and the question itself"


async def test_too_many_uploads_at_once(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"uploads": "2 at once"}})
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload()) for _ in range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    for answer in refused:
        assert assert_problem(answer, 429, "limit-exceeded")["violated-policies"] == ["uploads"]
    assert (await client.post("/v1/ocr", **upload())).status_code == 202, "the places are free again"


async def test_keys_do_not_multiply_a_tenants_limit(gateway: Gateway) -> None:
    operator, keys = await gateway.client(operator=True), [await gateway.client("acme") for _ in range(4)]
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"ocr": "3/h"}})
    answers = await asyncio.gather(*(key.post("/v1/ocr", **upload()) for key in keys * 3))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 9
    fresh = await (await gateway.client("acme")).post("/v1/ocr", **upload())
    problem = assert_problem(fresh, 429, "limit-exceeded")
    assert problem["violated-policies"] == ["tenant-ocr"]
    assert problem["detail"] == "tenant-ocr: at most 3 in 3600 seconds, for all keys of the tenant together."
    assert fresh.headers["ratelimit-policy"] == '"tenant-ocr";q=3;w=3600'
    assert fresh.headers["ratelimit"] == f'"tenant-ocr";r=0;t={fresh.headers["retry-after"]}'
    assert (await (await gateway.client("other")).post("/v1/ocr", **upload())).status_code == 202


async def test_a_tenants_limit_is_set_by_itself_and_its_refusals_cost_no_key(gateway: Gateway) -> None:
    operator, keys = await gateway.client(operator=True), [await gateway.client("acme") for _ in range(2)]
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"search": "9/h", "tenant-search": "5/h"}})
    answers = await asyncio.gather(*(key.get("/v1/jobs") for key in keys * 4))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
    shown = [(await key.get("/v1/limits")).json()["limits"] for key in keys]
    standing = [{limit["policy"]: limit for limit in limits} for limits in shown]
    assert sum(9 - limits["search"]["remaining"] for limits in standing) == 5, (
        "what was refused is charged to none"
    )
    for limits in standing:
        assert limits["search"]["per"] == "user"
        assert limits["tenant-search"].items() >= {"per": "tenant", "limit": 5, "remaining": 0}.items()


async def test_who_has_signed_in_shares_the_limit_of_the_tenant(gateway: Gateway) -> None:
    operator, key = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"search": "4/h"}})
    people = [Identity(f"account:{number}", "acme", Role.MEMBER) for number in range(2)]
    tokens = [gateway.app.state.tokens.issue(person) for person in people]
    clients = [key, *(gateway.anonymous(Authorization=f"Bearer {token}") for token in tokens)]
    answers = await asyncio.gather(*(client.get("/v1/jobs") for client in clients * 3))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 5

"""What every request passes before its endpoint: its body as it stands, and limits that are exact."""

import asyncio

import httpx

from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import LIMIT, Gateway, assert_problem, upload


async def test_s13_compressed_bodies_are_refused(gateway: Gateway) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await admin.post("/v1/keys", content=b"\x1f\x8b" + bytes(100), headers=headers)
    assert_problem(answer, 415, "unsupported-media-type")


async def test_s29_the_last_place_is_taken_once(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"ocr": "1/h"}})
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload()) for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [202] + [429] * 29


async def test_the_limit_is_exact_and_says_so(gateway: Gateway) -> None:
    client, other = await gateway.client(), await gateway.client()
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload()) for _ in range(LIMIT + 7)))
    assert sorted(answer.status_code for answer in answers) == [202] * LIMIT + [429] * 7
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == f'"ocr";q={LIMIT};w=3600'
    assert all(0 <= left < LIMIT for left in map(remaining, answers))
    refused = next(answer for answer in answers if answer.status_code == 429)
    problem = assert_problem(refused, 429, "limit-exceeded")
    assert problem["violated-policies"] == ["ocr"]
    assert 3590 <= int(refused.headers["retry-after"]) <= 3600
    assert (await other.post("/v1/ocr", **upload())).status_code == 202
    assert len(await gateway.database.fetch("SELECT 1 FROM ledger.jobs")) == LIMIT + 1


def remaining(answer: httpx.Response) -> int:
    return int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))


async def test_whoever_may_not_is_told_so_before_anything_is_read(gateway: Gateway) -> None:
    """The order: who calls, what they may, and only then what they send."""
    reader = await gateway.client(role=Role.READ)
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    assert_problem(
        await gateway.anonymous().post("/v1/keys", content=b"{", headers=headers), 401, "unauthenticated"
    )
    problem = assert_problem(await reader.post("/v1/keys", content=b"{", headers=headers), 403, "forbidden")
    assert "keys:write" in problem["detail"]


async def test_a_place_is_free_again_whatever_became_of_the_request(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    await operator.put("/v1/tenants/acme/limits", json={"limits": {"uploads": "1 at once"}})
    for _ in range(3):
        assert_problem(await client.post("/v1/ocr", **upload(b"{\\rtf1 none")), 415, "unsupported-media-type")
        await gateway.app.state.limiter._giving_back.drain()
    assert (await client.post("/v1/ocr", **upload())).status_code == 202


async def test_a_request_that_was_refused_leaves_no_load_behind(gateway: Gateway) -> None:
    client = await gateway.client(role=Role.READ)
    for call in (client.post("/v1/ocr", **upload()), client.get("/v1/jobs?limit=x"), client.get("/v1/jobs")):
        await call
    assert gateway.app.state.load_shedder._in_flight == 0

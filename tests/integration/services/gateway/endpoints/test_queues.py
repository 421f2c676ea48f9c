"""/v1/queues: for operators only, and what pausing and caps do."""

import asyncio

from libs.common.contracts.services import QUEUES
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted
from tests.integration.services.gateway.streams import becomes, working


async def test_queues_are_for_operators(gateway: Gateway) -> None:
    member, admin = await gateway.client(role=Role.ADMIN), await gateway.client(operator=True)
    for call in (member.get("/v1/queues"), member.post("/v1/queues/ocr/pause"), member.patch("/v1/queues/ocr")):
        assert_problem(await call, 403, "forbidden")
    assert_problem(await admin.post("/v1/queues/none/pause"), 404, "not-found")
    path = await submitted(member)
    listed = (await admin.get("/v1/queues")).json()["queues"]
    assert {queue["name"] for queue in listed} == set(QUEUES)
    queue = next(queue for queue in listed if queue["name"] == "ocr")
    assert (queue["name"], queue["depth"], queue["workers"]) == (
        "ocr",
        {"scheduled": 0, "queued": 1, "running": 0, "waiting": 0},
        0,
    )
    assert (await admin.post("/v1/queues/ocr/pause")).json()["paused_at"]
    gate = asyncio.Event()
    gate.set()
    async with working(gateway, gate):
        why = (await member.get(path + "/why")).json()
        assert (why["code"], why["sentence"]) == ("paused", "The queue ocr is paused.")
        assert not (await admin.post("/v1/queues/ocr/resume")).json()["paused_at"]
        await becomes(member, path, "succeeded")


async def test_a_cap_that_is_not_given_stays(gateway: Gateway) -> None:
    admin = await gateway.client(operator=True)
    await admin.patch("/v1/queues/ocr", json={"max_running_per_tenant": 3})
    queue = (await admin.patch("/v1/queues/ocr", json={"max_running": 5})).json()
    assert (queue["max_running"], queue["max_running_per_tenant"]) == (5, 3)
    queue = (await admin.patch("/v1/queues/ocr", json={"max_running": None})).json()
    assert (queue["max_running"], queue["max_running_per_tenant"]) == (None, 3)
    assert_problem(await admin.patch("/v1/queues/ocr", json={"max_running": 10**12}), 422, "invalid")

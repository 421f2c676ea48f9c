"""GET /v1/jobs/{id}/why: the true reason, in one sentence."""

import asyncio

import pytest

from libs.common.ledger import sharing
from tests.integration.services.gateway.gateway import Gateway, submitted
from tests.integration.services.gateway.streams import becomes, working


async def test_a_tenants_cap_holds_jobs_back_and_why_says_so(gateway: Gateway) -> None:
    client, admin, gate = await gateway.client(), await gateway.client(operator=True), asyncio.Event()
    capped = await admin.patch("/v1/queues/ocr", json={"max_running_per_tenant": 1})
    assert capped.json()["max_running_per_tenant"] == 1
    async with working(gateway, gate):
        first = await submitted(client)
        await becomes(client, first, "running")
        second = await submitted(client)
        why = (await client.get(second + "/why")).json()
        assert why["code"] == "tenant_cap"
        assert why["facts"]["held_by"] == [first.rpartition("/")[2]]
        assert (await client.get(first + "/why")).json()["code"] == "running"
        gate.set()
        await becomes(client, second, "succeeded")
        assert (await client.get(second + "/why")).json()["code"] == "succeeded"


async def test_why_names_the_time_and_the_missing_worker(gateway: Gateway) -> None:
    client = await gateway.client()
    scheduled = await submitted(client, options={"run_at": "2999-01-01T00:00:00Z"})
    why = (await client.get(scheduled + "/why")).json()
    assert (why["code"], why["sentence"]) == ("scheduled", "It is scheduled for 2999-01-01 00:00:00 UTC.")
    waiting = await submitted(client)
    assert (await client.get(waiting + "/why")).json()["code"] == "no_worker"


async def test_why_names_the_server_that_is_away(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    gate.set()
    path = await submitted(client, name="away.png")
    async with working(gateway, gate):
        await becomes(client, path, "scheduled")
        job, why = (await client.get(path)).json(), (await client.get(path + "/why")).json()
        assert (job["failures"], job["error"]["code"]) == (0, "storage_unavailable")
        assert job["error"]["retryable"]
        assert why["code"] == "storage_unavailable"
        assert why["facts"]["error"] == "The blob store cannot be used now."


async def test_why_tells_the_share_and_how_often_a_job_gave_way(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WAITED_S", 0.5)
    monkeypatch.setattr(sharing, "LONG_S", 0.0)
    client, other, gate = await gateway.client(), await gateway.client("other"), asyncio.Event()
    async with working(gateway, gate):
        flood = [await submitted(client, options={"tags": [str(number)]}) for number in range(4)]
        await becomes(client, flood[1], "running")
        another = await submitted(other)
        await becomes(other, another, "running")
        why = (await other.get(another + "/why")).json()
        assert (why["code"], why["facts"]["share"]) == ("running", {"slots": 1, "of": 2, "held": 1})
        told = [(await client.get(path + "/why")).json() for path in flood]
        assert sorted(one["facts"]["preempted"] for one in told) == [0, 0, 0, 1]
        waiting = [one for one in told if one["code"] != "running"]
        assert {one["code"] for one in waiting} == {"tenant_share"}
        assert {one["facts"]["share"]["slots"] for one in waiting} == {1}

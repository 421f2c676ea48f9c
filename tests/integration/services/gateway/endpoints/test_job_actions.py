"""Cancel and retry over HTTP: one job, or all that a filter means."""

import asyncio
from typing import Any

import pytest

from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted
from tests.integration.services.gateway.streams import becomes, working


async def test_cancel_waiting_running_and_ended(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    waiting = await submitted(client)
    answer = await client.post(waiting + "/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert_problem(await client.post(waiting + "/cancel"), 409, "conflict")
    running = await submitted(client)
    async with working(gateway, gate):
        await becomes(client, running, "running")
        answer = await client.post(running + "/cancel")
        assert answer.status_code == 202
        assert answer.json()["state"] in ("running", "cancelled")  # the worker may be as quick as the answer
        job = await becomes(client, running, "cancelled")
        assert job["failures"] == 0


async def test_retry_by_hand(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    gate.set()
    path = await submitted(client, name="bad.png")
    async with working(gateway, gate):
        await becomes(client, path, "failed")
    answer = await client.post(path + "/retry")
    assert (answer.status_code, answer.json()["state"], answer.json()["failures"]) == (202, "queued", 0)
    assert_problem(await client.post(path + "/retry"), 409, "conflict")
    errors = (await client.get(path)).json()["errors"]
    assert [(error["code"], error["message"], "traceback" in error) for error in errors] == [
        ("reject", "No good.", False)
    ]


async def test_bulk_calls_want_a_filter_and_count_first(gateway: Gateway) -> None:
    client = await gateway.client()
    paths = [await submitted(client, options={"tags": ["t"]}) for _ in range(3)]
    for call in ("cancel", "retry"):
        problem = assert_problem(await client.post(f"/v1/jobs/{call}", json={"filter": {}}), 422, "invalid")
        assert problem["errors"][0]["field"] == "body.filter"
    counted = (await client.post("/v1/jobs/cancel", json={"filter": {"tag": "t"}, "dry_run": True})).json()
    assert counted["matched"] == 3
    assert (await client.get(paths[0])).json()["state"] == "queued"
    done = await client.post("/v1/jobs/cancel", json={"filter": {"tag": "t"}})
    assert (done.status_code, done.json()) == (200, {"cancelled": 3, "cancelling": 0})
    assert (await client.post("/v1/jobs/retry", json={"filter": {"state": "queued"}})).json() == {"matched": 0}
    answer = await client.post("/v1/jobs/retry", json={"filter": {"tag": "t"}, "rate": 1000, "stop_after": 2})
    assert (answer.status_code, answer.json()["matched"]) == (202, 3)
    for path in paths[:2]:
        await becomes(client, path, "queued")
    stopped = await client.post(answer.headers["location"] + "/cancel")
    assert stopped.json()["state"] == "cancelled"
    assert (await client.get(answer.headers["location"])).json()["jobs"] == {"queued": 2}


@pytest.mark.parametrize("meaning", [{"queue": None}, {"state": None, "tag": None}])
async def test_a_filter_of_nothing_but_nulls_is_empty(gateway: Gateway, meaning: dict[str, Any]) -> None:
    client = await gateway.client()
    path = await submitted(client)
    assert_problem(await client.post("/v1/jobs/cancel", json={"filter": meaning}), 422, "invalid")
    assert (await client.get(path)).json()["state"] == "queued"

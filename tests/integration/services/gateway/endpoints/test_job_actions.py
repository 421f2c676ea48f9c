"""Cancel and retry over HTTP: one job, or all that a filter means."""

import asyncio
from typing import Any

import pytest

from libs.common.ledger import bulk_retries
from services.gateway.identity.scopes import Role
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


async def test_the_same_request_again_is_the_same_replay(gateway: Gateway) -> None:
    client, headers = await gateway.client(), {"Idempotency-Key": "r-1"}
    path = await submitted(client, options={"tags": ["t"]})
    await client.post(path + "/cancel")
    body = {"filter": {"tag": "t"}}
    first = await client.post("/v1/jobs/retry", json=body, headers=headers)
    await becomes(client, path, "queued")
    again = await client.post("/v1/jobs/retry", json=body, headers=headers)
    assert [answer.status_code for answer in (first, again)] == [202, 202]
    assert first.headers["location"] == again.headers["location"]
    assert [answer.headers.get("idempotency-replayed") for answer in (first, again)] == [None, "true"]
    other = await client.post("/v1/jobs/retry", json=body | {"rate": 5}, headers=headers)
    assert_problem(other, 422, "idempotency-mismatch")


async def test_a_tenant_has_so_many_replays_at_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_retries, "OPEN_AT_MOST", 3)
    client = await gateway.client()
    paths = [await submitted(client) for _ in range(10)]
    await asyncio.gather(*(client.post(path + "/cancel") for path in paths))
    body = {"filter": {"queue": "ocr"}, "rate": 0.001}
    answers = await asyncio.gather(*(client.post("/v1/jobs/retry", json=body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [409] * 5


async def test_an_ended_job_is_removed_with_its_files(gateway: Gateway) -> None:
    client = await gateway.client()
    kept, path = await submitted(client), await submitted(client, options={"tags": ["t"]})
    problem = assert_problem(await client.delete(path), 409, "conflict")
    assert "cancel it first" in problem["detail"]
    await client.post(path + "/cancel")
    assert [(await client.delete(path)).status_code for _ in range(2)] == [204, 204]
    assert_problem(await client.get(path), 404, "not-found")
    assert [str(blob).find(kept.rpartition("_")[2]) > 0 for blob in gateway.blobs()] == [True]
    assert_problem(await client.delete("/v1/jobs/none"), 404, "not-found")
    reader = await gateway.client(role=Role.READ)
    assert_problem(await reader.delete(kept), 403, "forbidden")
    await gateway.retention.go_round()
    await gateway.retention.balance()
    assert await gateway.database.fetch("SELECT FROM ledger.trash") == []
    assert (await client.get(kept)).json()["state"] == "queued"


async def test_a_running_job_is_not_removed_until_it_has_stopped(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    path = await submitted(client)
    async with working(gateway, gate):
        await becomes(client, path, "running")
        assert_problem(await client.delete(path), 409, "conflict")
        gate.set()
        await becomes(client, path, "succeeded")
    answers = await asyncio.gather(*(client.delete(path) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {204}
    assert gateway.blobs() == []


@pytest.mark.parametrize("meaning", [{"queue": None}, {"state": None, "tag": None}])
async def test_a_filter_of_nothing_but_nulls_is_empty(gateway: Gateway, meaning: dict[str, Any]) -> None:
    client = await gateway.client()
    path = await submitted(client)
    assert_problem(await client.post("/v1/jobs/cancel", json={"filter": meaning}), 422, "invalid")
    assert (await client.get(path)).json()["state"] == "queued"

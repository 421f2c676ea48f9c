"""Steering jobs over HTTP: Prefer, cancel, retry, queues, schedules, why."""

import asyncio
from typing import Any

import pytest

from libs.common.contracts.services import QUEUES
from libs.common.errors import Unavailable
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted, upload
from tests.integration.services.gateway.streams import becomes, working


async def test_prefer_wait_answers_with_the_end_or_with_202(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    slow = await client.post("/v1/ocr", **upload(), headers={"Prefer": "wait=1"})
    assert (slow.status_code, slow.json()["state"]) == (202, "queued")
    assert slow.headers["preference-applied"] == "wait=1"
    gate.set()
    async with working(gateway, gate):
        quick = await client.post("/v1/ocr", **upload(), headers={"Prefer": "respond-async, wait=60"})
    assert (quick.status_code, quick.json()["state"], quick.json()["result"]) == (200, "succeeded", {"pages": 1})


async def test_the_same_request_again_is_the_same_job(gateway: Gateway) -> None:
    client = await gateway.client()
    headers = {"Idempotency-Key": "a-1"}
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload(), headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 3]
    assert len(gateway.blobs()) == 1
    other = await client.post("/v1/ocr", **upload(options={"dpi": 200}), headers=headers)
    assert_problem(other, 422, "idempotency-mismatch")
    assert len(gateway.blobs()) == 1


async def test_a_key_that_is_none_is_refused(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/ocr", **upload(), headers={"Idempotency-Key": "two words"})
    assert assert_problem(answer, 422, "invalid")["errors"][0]["field"] == "header.Idempotency-Key"
    assert gateway.blobs() == []


async def test_unique_for_gives_the_job_that_is_there(gateway: Gateway) -> None:
    client = await gateway.client()
    first = await submitted(client, options={"unique_for": "nightly"})
    assert await submitted(client, options={"unique_for": "nightly", "dpi": 200}) == first
    assert await submitted(client, options={"unique_for": "weekly"}) != first


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


async def test_what_is_old_is_removed_with_its_files(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await submitted(client)
    await client.post(path + "/cancel")
    assert len(gateway.blobs()) == 1
    await gateway.database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '31 days'")
    await gateway.retention.go_round()
    assert_problem(await client.get(path), 404, "not-found")
    assert gateway.blobs() == []


async def test_files_that_no_job_came_for_are_removed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their gateway died, or cannot know whether the job was committed."""
    client = await gateway.client()
    await submitted(client)
    letter = {"from": "office@argosy.test", "to": ["ada@one.test"], "text": "Tides"}
    file = {"filename": "a.txt", "media_type": "text/plain", "content": "MDY6MDA="}

    async def die(_job: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.app.state.dispatcher, "accept", die)
        assert_problem(await client.post("/v1/ocr", **upload()), 503, "service-unavailable")
        assert_problem(
            await client.post("/v1/mail", json=letter | {"attachments": [file]}), 503, "service-unavailable"
        )
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 3, "the jobs may still come"
    await gateway.database.fetch("UPDATE ledger.uploads SET announced_at = announced_at - interval '2 hours'")
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 1
    assert await gateway.database.fetch("SELECT FROM ledger.uploads") == []


async def test_beyond_the_budget_in_bytes_the_oldest_go_first(gateway: Gateway) -> None:
    client = await gateway.client()
    keep, old = await submitted(client), await submitted(client)
    await client.post(old + "/cancel")
    await gateway.database.fetch("INSERT INTO ledger.entries VALUES ('ocr', 'bytes', 200 * 1024::bigint ^ 3)")
    await gateway.retention.go_round()
    assert_problem(await client.get(old), 404, "not-found")
    assert (await client.get(keep)).json()["state"] == "queued"
    assert len(gateway.blobs()) == 1


@pytest.mark.parametrize("meaning", [{"queue": None}, {"state": None, "tag": None}])
async def test_a_filter_of_nothing_but_nulls_is_empty(gateway: Gateway, meaning: dict[str, Any]) -> None:
    client = await gateway.client()
    path = await submitted(client)
    assert_problem(await client.post("/v1/jobs/cancel", json={"filter": meaning}), 422, "invalid")
    assert (await client.get(path)).json()["state"] == "queued"


async def test_a_cap_that_is_not_given_stays(gateway: Gateway) -> None:
    admin = await gateway.client(operator=True)
    await admin.patch("/v1/queues/ocr", json={"max_running_per_tenant": 3})
    queue = (await admin.patch("/v1/queues/ocr", json={"max_running": 5})).json()
    assert (queue["max_running"], queue["max_running_per_tenant"]) == (5, 3)
    queue = (await admin.patch("/v1/queues/ocr", json={"max_running": None})).json()
    assert (queue["max_running"], queue["max_running_per_tenant"]) == (None, 3)
    assert_problem(await admin.patch("/v1/queues/ocr", json={"max_running": 10**12}), 422, "invalid")

"""Following a job over HTTP: its events as they happen."""

import asyncio

import pytest

from services.gateway.app import drain
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted
from tests.integration.services.gateway.streams import Stream, becomes, working


async def test_events_tell_a_jobs_life_and_end_with_it(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    path = await submitted(client)
    stream = Stream(gateway, client, path + "/events")
    await stream.has("state", state="queued")
    async with working(gateway, gate):
        await stream.has("state", state="running")
        await stream.has("progress", done=1, total=2, note="half")
        late = Stream(gateway, client, path + "/events")
        await late.has("state", state="running")
        gate.set()
        await stream.has("state", state="succeeded", result={"pages": 1})
        await late.has("state", state="succeeded")
        async with asyncio.timeout(30):
            await stream.ended.wait()
            await late.ended.wait()
    again = Stream(gateway, client, path + "/events")
    await again.has("state", state="succeeded")
    assert [name for name, _ in again.events] == ["state"]


async def test_who_comes_back_goes_on_and_is_not_told_twice(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    path = await submitted(client)
    first = Stream(gateway, client, path + "/events")
    await first.has("state", state="queued")
    async with working(gateway, gate):
        await first.has("progress", done=1, total=2, note="half")
        first.task.cancel()
        again = Stream(gateway, client, path + "/events", last_id=first.ids[-1])
        stale = Stream(gateway, client, path + "/events", last_id=first.ids[0])
        async with asyncio.timeout(60):
            await again.begun.wait()
        await stale.has("state", state="running")
        gate.set()
        async with asyncio.timeout(60):
            await again.ended.wait()
            await stale.ended.wait()
    assert len(set(first.ids)) == len(first.ids), "each event has an id of its own"
    assert [data["state"] for name, data in again.events if name == "state"] == ["succeeded"]
    assert [data["state"] for name, data in stale.events if name == "state"] == ["running", "succeeded"]


async def test_who_has_had_the_end_is_told_to_come_no_more(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await submitted(client)
    queued = Stream(gateway, client, path + "/events")
    await queued.has("state", state="queued")
    await client.post(path + "/cancel")
    async with asyncio.timeout(60):
        await queued.ended.wait()
    for last_id, status, events in ((queued.ids[-1], 204, 0), (queued.ids[0], 200, 1), ("nonsense", 200, 1)):
        stream = Stream(gateway, client, path + "/events", last_id=last_id)
        async with asyncio.timeout(60):
            await stream.ended.wait()
        assert (stream.status, len(stream.events)) == (status, events), last_id
    assert (await client.post(path + "/retry")).status_code == 202
    retried = Stream(gateway, client, path + "/events", last_id=queued.ids[-1])
    await retried.has("state", state="queued")
    assert retried.status == 200, "the end was not the end"
    retried.task.cancel()


async def test_a_stream_costs_the_limit_on_calls_once(gateway: Gateway) -> None:
    operator, client = await gateway.client(operator=True), await gateway.client("acme")
    path = await submitted(client)
    limits = {"api": "2/h", "burst": "2/h", "reconnects": "3/h", "streams": "5 at once"}
    await operator.put("/v1/tenants/acme/limits", json={"limits": limits})
    await client.post(path + "/cancel")
    assert (await client.get(path + "/events")).status_code == 200
    end = {"Last-Event-ID": "cancelled-0-0-0"}
    assert [(await client.get(path + "/events", headers=end)).status_code for _ in range(3)] == [204] * 3
    problem = assert_problem(await client.get(path + "/events", headers=end), 429, "limit-exceeded")
    assert problem["violated-policies"] == ["reconnects"], "they are limited too"
    problem = assert_problem(await client.get(path + "/events"), 429, "limit-exceeded")
    assert set(problem["violated-policies"]) == {"api", "burst"}


async def test_events_of_another_tenants_job_are_not_there(gateway: Gateway) -> None:
    path = await submitted(await gateway.client())
    stranger = await gateway.client("other")
    for suffix in ("/events", "/why"):
        assert_problem(await stranger.get(path + suffix), 404, "not-found")
    for suffix in ("/cancel", "/retry"):
        assert_problem(await stranger.post(path + suffix), 404, "not-found")


async def test_s25_a_stream_ends_with_its_key(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.endpoints.job_events.KEEP_ALIVE_S", 0.1)
    client, gate = await gateway.client(), asyncio.Event()
    path = await submitted(client)
    stream = Stream(gateway, client, path + "/events")
    await stream.has("state", state="queued")
    await gateway.database.fetch("UPDATE identity.keys SET revoked_at = now()")
    async with asyncio.timeout(30):
        await stream.ended.wait()
    gate.set()
    other = await gateway.client()
    async with working(gateway, gate):
        await becomes(other, path, "succeeded")
    assert [data["state"] for _, data in stream.events] == ["queued"]


async def test_streams_end_when_the_gateway_is_about_to_stop(gateway: Gateway) -> None:
    client = await gateway.client()
    stream = Stream(gateway, client, await submitted(client) + "/events")
    await stream.has("state", state="queued")
    drain(gateway.app)
    async with asyncio.timeout(30):
        await stream.ended.wait()
    assert (await gateway.anonymous().get("/readyz")).status_code == 503
    assert (await gateway.anonymous().get("/livez")).status_code == 200


async def test_the_stream_of_a_job_that_is_removed_ends(gateway: Gateway) -> None:
    client = await gateway.client()
    stream = Stream(gateway, client, await submitted(client) + "/events")
    await stream.has("state", state="queued")
    await gateway.database.fetch("DELETE FROM ledger.jobs")
    async with asyncio.timeout(60):
        await stream.ended.wait()


async def test_head_of_a_stream_is_no_stream(gateway: Gateway) -> None:
    client = await gateway.client()
    head = await client.head(await submitted(client) + "/events")
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")

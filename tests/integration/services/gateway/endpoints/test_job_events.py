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

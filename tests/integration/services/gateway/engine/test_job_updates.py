"""Following jobs: many at little cost, and no news lost."""

import asyncio
from typing import Any

import pytest

from libs.common.contracts.ids import parse_id
from libs.common.ledger import jobs as ledger
from tests.integration.services.gateway.gateway import Gateway, submitted
from tests.integration.services.gateway.streams import Stream, working


async def test_a_lost_message_is_made_up_for(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await gateway.client()
    path = await submitted(client)
    stream = Stream(gateway, client, path + "/events")
    await stream.has("state", state="queued")
    job_id = parse_id(path.rpartition("/")[2])
    await gateway.database.fetch(
        "UPDATE ledger.jobs SET state = 'cancelled', finished_at = now() WHERE id = $1", job_id
    )
    await stream.has("state", state="cancelled")


async def test_many_followers_cost_the_database_no_more_than_one(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await gateway.client()
    path = await submitted(client)
    streams = [Stream(gateway, client, path + "/events") for _ in range(300)]
    for stream in streams:
        await stream.has("state", state="queued")
    reads, read = [], ledger.read
    statements, fetch = [], gateway.app.state.database.fetch
    followers = {stream.task for stream in streams}

    async def counted(*args: Any) -> Any:
        reads.append(args)
        return await read(*args)

    async def noted(sql: str, *args: Any, **more: Any) -> Any:
        if asyncio.current_task() in followers:
            statements.append(sql)
        return await fetch(sql, *args, **more)

    monkeypatch.setattr(ledger, "read", counted)
    monkeypatch.setattr(gateway.app.state.database, "fetch", noted)
    gate = asyncio.Event()
    gate.set()
    async with working(gateway, gate):
        for stream in streams:
            await stream.has("state", state="succeeded")
    assert 1 <= len(reads) < 30, "for all of them together"
    assert statements == [], "and none of their own"

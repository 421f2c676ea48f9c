"""A gateway that is told to stop answers everybody whose events linger, and what it has answered is stored."""

import asyncio
import json
from pathlib import Path

import httpx

from deploy.local.test_servers import Trio
from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.live import serving
from tests.polling import until

CALLERS = 40
STORED = "SELECT e ->> 'id' FROM ledger.jobs, jsonb_array_elements(payload -> 'events') e"


async def test_nothing_that_lingers_is_lost_unanswered_at_the_end(
    servers: Trio, database_url: str, database: Database, tmp_path: Path
) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
    told = set[str]()
    async with serving(servers, database_url, tmp_path, GATEWAY_DRAIN_S="0") as (live,):

        async def send(number: int) -> None:
            """One event after the other, until the gateway takes no more connections."""
            headers = {"Authorization": f"Bearer {key}"}
            for turn in range(10_000):
                id_ = f"{number}-{turn}"
                async with httpx.AsyncClient(base_url=live.url, headers=headers, timeout=60) as client:
                    try:
                        answer = await client.post("/v1/events", json={"events": [{"id": id_}]})
                    except httpx.TransportError:  # it was not read; the log says so below
                        return
                assert answer.status_code == 202, answer.text
                told.add(id_)

        async def many_are_told() -> bool:
            return len(told) >= 3 * CALLERS

        senders = [asyncio.create_task(send(number)) for number in range(CALLERS)]
        await until(many_are_told)
        live.process.terminate()
        await asyncio.gather(*senders)
        await asyncio.to_thread(live.process.wait)
    log = [json.loads(line) for line in live.log.read_bytes().splitlines() if b'"path":"/v1/events"' in line]
    assert {line["status"] for line in log} == {202}, "what was read was answered"
    stored = {row[0] for row in await database.fetch(STORED)}
    assert told == stored

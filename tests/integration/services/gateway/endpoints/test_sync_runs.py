"""Runs of a source from outside: one at a time, whoever asks."""

import asyncio
import time

import pytest

from services.sync.page import Ask
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.polling import until
from tests.syncing import Syncer, listing, spec_of

URL = "https://example.org/grants.json"


async def test_a_source_has_one_run_at_a_time_also_by_schedule(gateway: Gateway, syncer: Syncer) -> None:
    client = await gateway.client()
    await client.put("/v1/sources/grants", json=spec_of())
    in_an_hour = {"source": "grants", "run_at": "2100-01-01T00:00:00Z"}
    jobs = {(await client.post("/v1/sync", json=in_an_hour)).json()["id"] for _ in range(2)}
    assert len(jobs) == 1
    schedule = {"name": "hourly", "queue": "sync", "cron": "7 * * * *", "payload": {"source": "grants"}}
    made = await client.post("/v1/schedules", json=schedule)
    assert made.status_code == 201, made.text
    source = (await client.get("/v1/sources/grants")).json()["id"]
    assert made.json()["unique_for"] == f"source:{source}"
    run = await client.post(f"/v1/schedules/{made.json()['id']}/run")
    assert {run.json()["id"]} == jobs
    for path, body, field in (
        ("/v1/sync", {"source": "grants", "unique_for": "mine"}, "body.unique_for"),
        ("/v1/schedules", schedule | {"name": "other", "unique_for": "mine"}, "body.unique_for"),
        ("/v1/schedules", schedule | {"name": "other", "payload": {"source": "no"}}, "body.payload.source"),
    ):
        problem = assert_problem(await client.post(path, json=body), 422, "invalid")
        assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("held", [True, False], ids=["while a page is awaited", "between pages"])
async def test_a_run_is_cancelled_at_once_and_keeps_what_it_has_written(
    gateway: Gateway, syncer: Syncer, held: bool
) -> None:
    """A source that never answers would hold it for a minute, one that never ends for as long as it likes."""
    client = await gateway.client()
    await client.put("/v1/sources/grants", json=spec_of(min_interval_s=1, max_gone_ratio=1))
    syncer.shelf.listed[URL] = [listing(9_999)]
    first = await client.post("/v1/sync", json={"source": "grants"}, headers={"Prefer": "wait=60"})
    assert first.json()["result"]["inserted"] == 1

    async def answer(_ask: Ask) -> None:
        if held and len(await syncer.rows("dev")) >= 3:
            await asyncio.Event().wait()

    syncer.shelf.listed[URL] = [listing(n) for n in range(9_000)]
    syncer.shelf.before = answer
    await syncer.database.fetch("UPDATE sync.sources SET not_before = NULL")
    job = (await client.post("/v1/sync", json={"source": "grants"})).json()["id"]

    async def has_begun() -> bool:
        return len(await syncer.rows("dev")) >= 3

    async def is_cancelled() -> bool:
        return bool((await client.get(f"/v1/jobs/{job}")).json()["state"] == "cancelled")

    await until(has_begun)
    begun, asked = time.monotonic(), len(syncer.shelf.asked)
    assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code in (200, 202)
    await until(is_cancelled)
    print(f"cancelled after {time.monotonic() - begun:.2f} s, {len(syncer.shelf.asked) - asked} pages")
    assert len(syncer.shelf.asked) < 9_000
    rows = await syncer.rows("dev")
    assert len(rows) >= 3
    assert all(row["gone_at"] is None for row in rows.values())

"""Runs of a source from outside: one at a time, whoever asks."""

from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.syncing import Syncer, spec_of


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

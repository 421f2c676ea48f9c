"""/v1/sources and /v1/sync from outside."""

from typing import Any

import pytest

from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.syncing import MAPPING, Syncer, listing, spec_of

WAIT = {"Prefer": "wait=30"}
URL = "https://example.org/grants.json"


async def test_a_source_is_put_previewed_run_and_deleted(gateway: Gateway, syncer: Syncer) -> None:
    syncer.shelf.listed[URL] = [[*listing(1, 2), {"id": "g3"}]]
    client, other = await gateway.client(), await gateway.client("other")
    put = await client.put("/v1/sources/grants", json=spec_of(headers={"X-Key": "not a real key"}))
    assert put.status_code == 200, put.text
    shown = (await client.get("/v1/sources/grants")).json()
    assert (shown["name"], shown["header_names"]) == ("grants", ["X-Key"])
    assert "not a real key" not in put.text + str(shown)
    again = await client.put("/v1/sources/grants", json=shown["spec"])
    assert again.json()["spec"] == shown["spec"]
    assert_problem(await other.get("/v1/sources/grants"), 404, "not-found")
    assert_problem(await other.post("/v1/sync", json={"source": "grants"}), 422, "invalid")

    preview = (await client.post("/v1/sources/grants/preview", json={}, headers=WAIT)).json()["result"]
    assert [(one["key"], one["would_be"]) for one in preview["records"]] == [
        ("g1", "inserted"),
        ("g2", "inserted"),
    ]
    assert [(one["key"], one["field"]) for one in preview["rejected"]] == [("g3", "title")]
    assert await syncer.rows("dev") == {}

    run = (await client.post("/v1/sync", json={"source": "grants"}, headers=WAIT)).json()
    assert run["state"] == "succeeded", run
    assert (run["result"]["inserted"], run["result"]["rejected"]) == (2, 1)
    assert (await client.get("/v1/sources/grants")).json()["succeeded_at"]

    remapped = await client.put("/v1/sources/grants", json=spec_of(mapping=MAPPING | {"title": "title || id"}))
    assert remapped.headers["location"].startswith("/v1/jobs/job_")
    (rejected,) = (await client.get("/v1/sources/grants/rejected")).json()["rejected"]
    assert rejected["raw"] == {"id": "g3"}
    replay = await client.post("/v1/sources/grants/rejected/replay", json={}, headers=WAIT)
    assert replay.json()["state"] == "succeeded", replay.text
    assert [one["name"] for one in (await client.get("/v1/sources")).json()["sources"]] == ["grants"]
    assert (await client.delete("/v1/sources/grants")).status_code == 204
    assert_problem(await client.get("/v1/sources/grants"), 404, "not-found")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Grants", spec_of(), "path.name"),
        ("grants", spec_of(url="ftp://example.org"), "body.url"),
        ("grants", spec_of(mapping=MAPPING | {"title": "a["}), "body.mapping.title"),
        ("grants", spec_of(time_zone="Mars/Olympus"), "body.time_zone"),
        ("grants", spec_of(language="klingon"), "body.language"),
        ("grants", spec_of(headers={"X-Key": "a\r\nHost: b"}), "body.headers.X-Key"),
    ],
)
async def test_what_is_wrong_is_named(
    gateway: Gateway, syncer: Syncer, name: str, body: dict[str, Any], field: str
) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.put(f"/v1/sources/{name}", json=body), 422, "invalid")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_who_only_reads_puts_and_runs_nothing(gateway: Gateway, syncer: Syncer) -> None:
    reader = await gateway.client(role=Role.READ)
    assert_problem(await reader.put("/v1/sources/grants", json=spec_of()), 403, "forbidden")
    assert_problem(await reader.post("/v1/sync", json={"source": "grants"}), 403, "forbidden")
    assert (await reader.get("/v1/sources")).json()["sources"] == []

"""GET /v1/jobs and GET /v1/jobs/{id}."""

import pytest

from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload


async def test_another_tenants_job_does_not_exist(gateway: Gateway) -> None:
    mine, theirs = await gateway.client("mine"), await gateway.client("theirs")
    path = (await theirs.post("/v1/ocr", **upload())).headers["location"]
    assert_problem(await mine.get(path), 404, "not-found")
    assert_problem(await mine.get(path + "/artifacts/text.txt"), 404, "not-found")
    assert (await mine.get("/v1/jobs")).json() == {"jobs": [], "next_cursor": None}


async def test_listing_pages_through_everything(gateway: Gateway) -> None:
    client = await gateway.client()
    ids = [(await client.post("/v1/ocr", **upload())).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/jobs", params={"limit": "2", **cursor})).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == list(reversed(ids))


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "state=odd", "cursor=!", "colour=red"])
async def test_a_query_that_means_nothing_is_refused(gateway: Gateway, query: str) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.get(f"/v1/jobs?{query}"), 422, "invalid")
    assert problem["errors"][0]["field"] == f"query.{query.split('=')[0]}"


async def test_a_job_seen_before_is_not_sent_again(gateway: Gateway) -> None:
    client = await gateway.client()
    path = (await client.post("/v1/ocr", **upload())).headers["location"]
    etag = (await client.get(path)).headers["etag"]
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 304
    await gateway.database.fetch("UPDATE ledger.jobs SET attempt = 9")
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 200

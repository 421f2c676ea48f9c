"""POST /v1/events from outside: what is stored in which jobs, what is refused, and who pays."""

import asyncio
import json
import math
from typing import Any

import httpx
import pytest

from libs.common.db import fetch_within
from services.gateway.endpoints.event_bodies import EVENTS_BYTES_AT_MOST
from services.gateway.engine.event_intake import LINGER_S
from services.gateway.identity.scopes import PUBLIC, Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload

EVENT = {"id": "7", "name": "apply", "time": "2026-11-27T10:00:00Z", "properties": {"page": "/jobs"}}
JOBS = "SELECT tenant, queue, kind, payload, id FROM ledger.jobs ORDER BY id"
JSON = {"Content-Type": "application/json"}


async def public(gateway: Gateway, tenant: str = "dev") -> httpx.AsyncClient:
    """Somebody with the key that stands in a page of `tenant`."""
    admin = await gateway.client(tenant, Role.ADMIN)
    made = await admin.post("/v1/keys", json={"name": "page", "scopes": sorted(PUBLIC)})
    assert made.status_code == 201, made.text
    return gateway.anonymous(Authorization=f"Bearer {made.json()['key']}")


def numbered(*numbers: int) -> dict[str, Any]:
    return {"events": [EVENT | {"id": str(number)} for number in numbers]}


async def stored(gateway: Gateway) -> list[list[str]]:
    """The ids of the events of each job."""
    rows = await gateway.database.fetch(JOBS)
    return [[event["id"] for event in row["payload"]["events"]] for row in rows]


async def test_accepted_events_are_in_the_ledger(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/events", json={"events": [EVENT, {"id": "not even a name"}, 7]})
    assert answer.status_code == 202, answer.text
    assert answer.json().keys() == {"accepted", "job"}
    assert answer.json()["accepted"] == 3
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job']}"
    (row,) = await gateway.database.fetch(JOBS)
    assert (row["tenant"], row["queue"], row["kind"]) == ("dev", "analytics", "events")
    assert row["payload"]["events"] == [EVENT, {"id": "not even a name"}, 7]
    shown = (await client.get(answer.headers["location"])).json()
    assert (shown["kind"], shown["state"], shown["queue"]) == ("events", "queued", "analytics")


async def test_the_three_formats_are_one_in_the_ledger(gateway: Gateway) -> None:
    client = await gateway.client()
    cloud = {"specversion": "1.0", "source": "/shop", "id": "7", "type": "apply", "time": EVENT["time"]}
    bodies = {
        "application/json; charset=utf-8": json.dumps({"events": [EVENT]}),
        "application/x-ndjson": json.dumps(EVENT) + "\n",
        "application/cloudevents-batch+json": json.dumps([cloud | {"data": EVENT["properties"]}]),
    }
    for media_type, body in bodies.items():
        answer = await client.post("/v1/events", content=body, headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    events = [row["payload"]["events"] for row in await gateway.database.fetch(JOBS)]
    assert [event for job in events for event in job] == [EVENT, EVENT, EVENT | {"id": "/shop/7"}]


async def test_what_the_ledger_cannot_store_costs_nobody_their_events(gateway: Gateway) -> None:
    """Requests share a job, so one that PostgreSQL refused would take the others with it."""
    client = await gateway.client()
    hostile = [
        rb'"\u0000"',
        rb'"\ud800"',
        b"NaN",
        b"1e999",
        b"-1e999999",
        b"1e-999999",
        b"9" * 999,
        rb'{"\u0000":[]}',
    ]
    bodies = [b'{"events": [%s]}' % what for what in hostile] + [json.dumps({"events": [EVENT]}).encode()]
    answers = await asyncio.gather(*(client.post("/v1/events", content=body, headers=JSON) for body in bodies))
    assert [answer.status_code for answer in answers] == [202] * len(bodies)
    rows = await gateway.database.fetch(JOBS)
    events = [event for row in rows for event in row["payload"]["events"]]
    assert len(events) == len(bodies)
    assert EVENT in events


async def test_fifty_requests_a_second_make_no_more_jobs_than_the_timer_allows(gateway: Gateway) -> None:
    """13 callers, each with one request at a time, which lingers for a quarter of a second at most."""
    clients = [await gateway.client() for _ in range(13)]
    loop = asyncio.get_running_loop()

    async def send(number: int) -> list[str]:
        found = []
        for turn in range(38):
            answer = await clients[number].post("/v1/events", json=numbered(100 * number + turn))
            assert answer.status_code == 202, answer.text
            found.append(answer.json()["job"])
        return found

    begun = loop.time()
    told = await asyncio.gather(*map(send, range(len(clients))))
    took_s = loop.time() - begun
    jobs = await stored(gateway)
    assert len(jobs) <= math.floor(took_s / LINGER_S) + 1
    assert len({job for jobs in told for job in jobs}) == len(jobs)
    assert sorted(id_ for job in jobs for id_ in job) == sorted(
        str(100 * number + turn) for number in range(len(clients)) for turn in range(38)
    )


async def test_a_whole_batch_does_not_linger_and_two_tenants_share_nothing(gateway: Gateway) -> None:
    acme, other = await gateway.client("acme"), await gateway.client("other")
    whole = {"events": [EVENT | {"id": str(number)} for number in range(1000)]}
    answers = await asyncio.gather(
        *(client.post("/v1/events", json=whole) for client in (acme, other) for _ in range(4))
    )
    assert [answer.json()["accepted"] for answer in answers] == [1000] * 8
    rows = await gateway.database.fetch(JOBS)
    assert sorted(row["tenant"] for row in rows) == ["acme"] * 4 + ["other"] * 4
    assert {len(row["payload"]["events"]) for row in rows} == {1000}


@pytest.mark.parametrize(
    ("content", "media_type", "status", "kind", "fields"),
    [
        (b"{", "application/json", 400, "bad-request", []),
        (b"<p>", "application/x-ndjson", 400, "bad-request", []),
        (b"{}", "text/plain", 415, "unsupported-media-type", []),
        (b"{}", "application/cloudevents+json", 415, "unsupported-media-type", []),
        (b"{}", "application/json", 422, "invalid", ["body.events"]),
        (b"[]", "application/cloudevents-batch+json", 422, "invalid", ["body.events"]),
        (b'{"events": [1], "tenant": "x", "priority": "high"}', "application/json", 422, "invalid",
         ["body.tenant", "body.priority"]),
        (b"1\n" * 1001, "application/x-ndjson", 422, "invalid", ["body.events"]),
        (b'{"events": [%s]}' % (b"[" * 40 + b"]" * 40), "application/json", 413, "too-large", []),
        (b'"%s"' % (b"x" * EVENTS_BYTES_AT_MOST), "application/json", 413, "too-large", []),
    ],
)  # fmt: skip
async def test_what_is_refused_is_named_and_leaves_nothing(
    gateway: Gateway, content: bytes, media_type: str, status: int, kind: str, fields: list[str]
) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/events", content=content, headers={"Content-Type": media_type})
    problem = assert_problem(answer, status, kind)
    assert [error["field"] for error in problem.get("errors", [])] == fields
    assert await gateway.database.fetch(JOBS) == []


async def test_jobs_with_events_are_meant_only_where_their_queue_is_named(gateway: Gateway) -> None:
    client = await gateway.client()
    document = (await client.post("/v1/ocr", **upload())).json()["id"]
    events = (await client.post("/v1/events", json=numbered(1))).json()["job"]

    async def listed(query: str) -> list[str]:
        return [job["id"] for job in (await client.get(f"/v1/jobs{query}")).json()["jobs"]]

    assert await listed("") == [document]
    assert await listed("?state=queued") == [document]
    assert await listed("?queue=ocr") == [document]
    assert await listed("?queue=analytics") == [events]
    filters: list[dict[str, str]] = [{"state": "queued"}, {"kind": "events"}, {"queue": "analytics"}]
    counted = [
        (await client.post("/v1/jobs/cancel", json={"filter": wanted, "dry_run": True})).json()["matched"]
        for wanted in filters
    ]
    assert counted == [1, 0, 1]
    assert (await client.post("/v1/jobs/cancel", json={"filter": {"state": "queued"}})).json()["cancelled"] == 1
    assert (await client.get(f"/v1/jobs/{events}")).json()["state"] == "queued"


async def test_an_outage_is_answered_and_over_at_once(gateway: Gateway) -> None:
    """Whoever is told 503 sends the same again, and its ids count once."""
    client = await gateway.client()
    assert (await client.post("/v1/events", json=numbered(0))).status_code == 202
    async with gateway.database.begin() as connection:
        await fetch_within(connection, "LOCK TABLE ledger.jobs IN ACCESS EXCLUSIVE MODE")
        answers = await asyncio.gather(*(client.post("/v1/events", json=numbered(number)) for number in (1, 2, 3)))
    for answer in answers:
        assert_problem(answer, 503, "service-unavailable")
        assert int(answer.headers["retry-after"]) > 0
    again = await client.post("/v1/events", json=numbered(1, 2, 3))
    assert again.status_code == 202, again.text
    assert {id_ for job in await stored(gateway) for id_ in job} == {"0", "1", "2", "3"}


async def test_a_public_key_uses_up_nothing_of_other_keys(gateway: Gateway) -> None:
    operator, server = await gateway.client(operator=True), await gateway.client("acme")
    page, other_page = [await public(gateway, "acme") for _ in range(2)]
    figures = {"burst": "100/h", "events": "100/h", "events-tenant": "2/h"}
    await operator.put("/v1/tenants/acme/limits", json={"limits": figures})
    answers = [await page.post("/v1/events", json=numbered(number)) for number in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    problem = assert_problem(answers[-1], 429, "limit-exceeded")
    assert problem["violated-policies"] == ["events-tenant"]
    assert (await other_page.post("/v1/events", json=numbered(4))).status_code == 429
    assert (await server.post("/v1/events", json=numbered(5))).status_code == 202
    standing = {limit["policy"]: limit for limit in (await server.get("/v1/limits")).json()["limits"]}
    assert standing["events"]["remaining"] == 99
    assert standing["tenant-events"]["remaining"] == 99, "only the key of the server was charged to it"
    assert standing["tenant-burst"]["remaining"] == 100 - 2

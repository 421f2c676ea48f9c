"""From events to answers, through gateway and worker; and what is refused before a worker is asked."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from libs.common.ledger.jobs import new_id
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.polling import until

NOON = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=12)
"""Yesterday's, so that all events of a test are of one day, whatever the time is."""
DAY = NOON.date().isoformat()
RANGE = {"from": DAY, "to": (NOON.date() + timedelta(days=1)).isoformat()}
FUNNEL = {"report": "funnel", "steps": ["view", "apply"], "within_s": 3600, **RANGE}
RETENTION = {"report": "retention", "start": "view", "back": "apply", "by": "day", **RANGE}
QUERY = {"event": "view", **RANGE}


def event(
    name: str, subject: str, *, second: int = 0, id_: str | None = None, **properties: Any
) -> dict[str, Any]:
    at = (NOON + timedelta(seconds=second)).isoformat()
    return {"id": id_ or new_id().hex, "name": name, "time": at, "subject": subject, "properties": properties}


async def ended(client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    async def has_ended() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(f"/v1/jobs/{job}")).json()
        return found if found["finished_at"] else None

    found = await until(has_ended)
    assert found is not None
    return found


async def sent(client: httpx.AsyncClient, *events: dict[str, Any]) -> dict[str, Any]:
    """The result of the job that counted them."""
    answer = await client.post("/v1/events", json={"events": events})
    assert answer.status_code == 202, answer.text
    job = await ended(client, answer.json()["job"])
    assert job["state"] == "succeeded", job["errors"]
    result: dict[str, Any] = job["result"]
    return result


async def asked(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/analytics/query", json=QUERY | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_three_batches_are_counted_once_however_often_they_come(gateway: Gateway, analytics: None) -> None:
    client, other = await gateway.client(), await gateway.client("other")
    batches = [
        [event("view", f"u{number}", id_=f"{batch}-{number}") for number in range(100)] for batch in range(3)
    ]
    for batch in batches:
        assert (await sent(client, *batch))["counted"] == 100
    again = await sent(client, *batches[0][:50], event("view", "u100"), *batches[2])
    assert (again["counted"], again["duplicates"]) == (1, 150)
    assert (await asked(client))["series"] == [{"value": None, "points": [[DAY, 301]]}]
    assert (await asked(client, measure="uniques"))["series"][0]["points"] == [[DAY, 101]]
    assert (await asked(other))["series"][0]["points"] == [[DAY, 0]]


async def test_a_type_says_by_what_events_are_broken_down(gateway: Gateway, analytics: None) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    put = await admin.put("/v1/event-types/apply", json={"dimensions": ["page"], "value": "amount"})
    assert put.status_code == 200, put.text
    assert put.json().items() >= {"name": "apply", "version": 1, "dimensions": ["page"], "value": "amount"}.items()
    pages = [("/jobs", 2.5), ("/jobs", 1.5), ("/help", 10)]
    await sent(admin, *(event("apply", "u", page=page, amount=amount) for page, amount in pages))
    counted = await asked(admin, event="apply", breakdown="page", top=1)
    assert counted["series"] == [{"value": "/jobs", "points": [[DAY, 2]]}]
    assert (counted["other"], counted["exact"]) == (1, True)
    assert (await asked(admin, event="apply", measure="sum"))["series"][0]["points"] == [[DAY, 14]]


async def test_reports_are_jobs_that_one_can_wait_for(gateway: Gateway, analytics: None) -> None:
    client = await gateway.client(role=Role.ADMIN)
    await sent(client, event("view", "a"), event("apply", "a", second=5), event("view", "b"), event("apply", "c"))
    wait = {"Prefer": "wait=60"}
    funnel = await client.post(
        "/v1/analytics/reports", json=FUNNEL | {"tags": ["monthly"], "csv": True}, headers=wait
    )
    assert funnel.status_code == 200, funnel.text
    job = funnel.json()
    assert (job["queue"], job["kind"], job["state"], job["tags"]) == (
        "analytics",
        "report",
        "succeeded",
        ["monthly"],
    )
    assert job["result"] == {"entered": 2, "steps": [2, 1]}
    (artifact,) = job["artifacts"]
    assert (artifact["name"], (await client.get(artifact["url"])).status_code) == ("report.csv", 200)
    key = {"Idempotency-Key": "retention-of-the-month"}
    first, again = [await client.post("/v1/analytics/reports", json=RETENTION, headers=key) for _ in range(2)]
    assert first.json()["id"] == again.json()["id"]
    assert (await ended(client, first.json()["id"]))["result"]["cohorts"][0]["subjects"] == 2


@pytest.mark.parametrize("subject", ["u1", "team/7", "ä b?&#"])
async def test_a_person_is_erased_and_stays_out(gateway: Gateway, analytics: None, subject: str) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    theirs = event("view", subject, id_="1")
    await sent(admin, theirs, event("view", "somebody else"))
    path = f"/v1/subjects/{quote(subject)}"
    erased = await admin.request("DELETE", path, params={"rebuild": "true"}, headers={"Prefer": "wait=60"})
    assert erased.status_code == 200, erased.text
    assert erased.json()["result"]["erased"] == 1
    assert (await asked(admin))["series"][0]["points"] == [[DAY, 1]]
    assert (await sent(admin, theirs))["reasons"] == {"erased": 1}
    assert not await gateway.database.fetch("SELECT FROM analytics.events WHERE subject = $1", subject)


async def test_what_did_not_count_is_shown_and_replayed(gateway: Gateway, analytics: None) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    schema = {"type": "object", "required": ["page"]}
    assert (await admin.put("/v1/event-types/view", json={"schema": schema})).status_code == 200
    good = [event("view", "u", page="/jobs") for _ in range(150)]
    result = await sent(admin, *good, event("view", "u", id_="bare"), event("View", "u"))
    assert result["reasons"] == {"schema_violated": 1, "bad_name": 1}
    shown = (await admin.get("/v1/events/rejected")).json()
    assert shown["not_kept"] + len(shown["rejected"]) == 2
    (bare,) = (await admin.get("/v1/events/rejected", params={"reason": "schema_violated"})).json()["rejected"]
    assert bare["event"]["id"] == "bare"
    await admin.put("/v1/event-types/view", json={})
    replayed = await admin.post(
        "/v1/events/rejected/replay", json={"reason": "schema_violated"}, headers={"Prefer": "wait=60"}
    )
    assert replayed.json()["result"]["counted"] == 1
    assert (await asked(admin))["series"][0]["points"] == [[DAY, 151]]


async def test_what_is_wrong_costs_no_other_event(gateway: Gateway, analytics: None) -> None:
    client = await gateway.client()
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    wrong = [
        7,
        event("view", "u", id_="x" * 129),
        event("view", "u", amount=float("inf")),
        event("view", "u") | {"time": ahead},
        event("view", "u") | {"time": "yesterday"},
        event("view", "u") | {"id": "ffffffff-ffff-7fff-8fff-ffffffffffff", "time": None},
        event("view", "u", text="\x00" * 3000 + "x" * 9000),
        event("view", "u") | {"properties": [1]},
    ]
    fine = [event("view", "u", text="a\x00b", number=number) for number in range(992)]
    body = json.dumps({"events": [*wrong, *fine]})
    answer = await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    job = await ended(client, answer.json()["job"])
    assert job["state"] == "succeeded", job["errors"]
    result = job["result"]
    assert (result["counted"], result["rejected"]) == (992, 8), result


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"body.event", "body.from", "body.to"}),
        (QUERY | {"event": "View"}, {"body.event"}),
        (QUERY | {"time_zone": "Mars/Olympus"}, {"body.time_zone"}),
        (QUERY | {"to": RANGE["from"]}, {"body"}),
        (QUERY | {"from": "1976-01-01", "by": "hour"}, {"body"}),
        (QUERY | {"measure": "uniques", "breakdown": "page"}, {"body"}),
        (QUERY | {"top": 1000}, {"body.top"}),
        (QUERY | {"tenant": "other"}, {"body.tenant"}),
    ],
)
async def test_questions_that_have_no_answer_are_refused(
    gateway: Gateway, body: dict[str, Any], fields: set[str]
) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.post("/v1/analytics/query", json=body), 422, "invalid")
    assert {error["field"] for error in problem["errors"]} == fields


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"report": "paths"},
        FUNNEL | {"steps": ["view"]},
        FUNNEL | {"steps": ["view"] * 11},
        FUNNEL | {"within_s": 0},
        FUNNEL | {"to": RANGE["from"]},
        FUNNEL | {"max_attempts": 0},
        RETENTION | {"steps": ["view", "apply"]},
        RETENTION | {"from": "1976-01-01"},
    ],
)
async def test_reports_that_cannot_be_made_are_refused(gateway: Gateway, body: dict[str, Any]) -> None:
    client = await gateway.client()
    assert_problem(await client.post("/v1/analytics/reports", json=body), 422, "invalid")
    assert await gateway.database.fetch("SELECT FROM ledger.jobs") == []


async def test_without_a_worker_questions_are_put_off(gateway: Gateway) -> None:
    client = await gateway.client()
    assert_problem(await client.post("/v1/analytics/query", json=QUERY), 503, "service-unavailable")
    assert (await client.post("/v1/events", json={"events": [event("view", "u")]})).status_code == 202

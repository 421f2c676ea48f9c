"""Recurring jobs over HTTP."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.migrations import provisioning
from libs.common.contracts.ids import public_id
from libs.common.contracts.mail import MailPayload
from libs.common.errors import Misconfigured
from libs.common.ledger.schedules import FLEET_TENANT
from services.gateway.endpoints.job_actions import remove_job
from services.gateway.identity.scopes import Role
from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted
from tests.polling import until


async def recurring(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    document = (await submitted(client)).rpartition("/")[2]
    body = {"name": "nightly", "queue": "ocr", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
    return await client.post("/v1/schedules", json=body | {"payload": {"document": document}} | changes)


async def test_a_schedules_life(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await recurring(client, tags=["n"], timezone="UTC")
    assert answer.status_code == 201, answer.text
    path, schedule = answer.headers["location"], answer.json()
    assert (schedule["catch_up"], schedule["tags"], len(schedule["next"])) == ("one", ["n"], 5)
    assert_problem(await recurring(client), 409, "conflict")
    await gateway.database.fetch("UPDATE ledger.schedules SET next_at = next_at - interval '1 day'")

    async def fired() -> list[dict[str, Any]]:
        jobs = (await client.get("/v1/jobs")).json()["jobs"]
        return [job for job in jobs if job["schedule"] == schedule["id"]]

    assert len(await until(fired)) == 1
    changed = (await client.patch(path, json={"paused": True, "cron": "0 4 * * *"})).json()
    assert (changed["paused"], changed["cron"], changed["next"]) == (True, "0 4 * * *", [])
    assert (await client.post(path + "/run")).status_code == 202
    assert len(await fired()) == 2
    assert [one["name"] for one in (await client.get("/v1/schedules")).json()["schedules"]] == ["nightly"]
    assert (await client.delete(path)).status_code == 204
    assert_problem(await client.get(path), 404, "not-found")


async def test_schedules_are_listed_in_pages_without_payloads(gateway: Gateway) -> None:
    client = await gateway.client()
    names = [f"s{number}" for number in range(5)]
    for name in names:
        assert (await recurring(client, name=name)).status_code == 201
    seen, cursor = list[str](), ""
    for left in (3, 1, 0):
        answer = (await client.get(f"/v1/schedules?limit=2{cursor}")).json()
        seen += [one["name"] for one in answer["schedules"]]
        assert all("payload" not in one for one in answer["schedules"])
        assert (answer["next_cursor"] is not None) == bool(left)
        cursor = f"&cursor={answer['next_cursor']}"
    assert seen == names
    assert_problem(await client.get("/v1/schedules?cursor=schedule_1"), 422, "invalid")


async def test_the_same_request_again_is_the_same_schedule(gateway: Gateway) -> None:
    client, headers = await gateway.client(), {"Idempotency-Key": "s-1"}
    document = (await submitted(client)).rpartition("/")[2]
    body = {"name": "nightly", "queue": "ocr", "cron": "0 3 * * *", "payload": {"document": document}}
    posts = (client.post("/v1/schedules", json=body, headers=headers) for _ in range(4))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 3]
    assert {answer.headers["idempotency-max-age"] for answer in answers} == {str(30 * 86_400)}
    assert len(gateway.blobs()) == 2, "of the job, and of the one schedule"
    other = await client.post("/v1/schedules", json=body | {"cron": "0 4 * * *"}, headers=headers)
    assert_problem(other, 422, "idempotency-mismatch")
    assert len(gateway.blobs()) == 2
    await client.delete(answers[0].headers["location"])
    assert_problem(await client.post("/v1/schedules", json=body, headers=headers), 409, "conflict")
    assert (await client.get("/v1/schedules")).json()["schedules"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "61 * * * *"}, "body.cron"),
        ({"timezone": "Mars/Olympus"}, "body.timezone"),
        ({"queue": "cook"}, "body.queue"),
        ({"payload": {"document": "job_1"}}, "body.payload.document"),
        ({"payload": {}}, "body.payload.document"),
        ({"run_at": "2999-01-01T00:00:00Z"}, "body.run_at"),
    ],
)
async def test_a_senseless_schedule_is_refused(gateway: Gateway, changes: dict[str, Any], field: str) -> None:
    problem = assert_problem(await recurring(await gateway.client(), **changes), 422, "invalid")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_what_a_letter_says_every_week_stays_what_it_was(gateway: Gateway) -> None:
    client = await gateway.client()
    variables = {"large": 2**70, "text": "☂", "list": [None, True, 1.5]}
    letter = {"from": "office@example.com", "subject": "Ahoy", "text": "{{ large }}"}
    recipients = [{"to": "ada@example.com", "variables": variables}]
    answer = await recurring(client, queue="mailer", payload=letter | {"recipients": recipients})
    path = answer.headers["location"]
    assert (await client.get(path)).json()["payload"]["recipients"][0]["variables"] == variables
    assert (await client.post(path + "/run")).status_code == 202
    ((payload,),) = await gateway.database.fetch("SELECT payload::text FROM ledger.jobs WHERE queue = 'mailer'")
    assert MailPayload.model_validate_json(payload).recipients[0].variables == variables


async def test_another_tenants_document_cannot_be_scheduled(gateway: Gateway) -> None:
    theirs = (await submitted(await gateway.client("other"))).rpartition("/")[2]
    answer = await recurring(await gateway.client(), payload={"document": theirs})
    assert_problem(answer, 409, "conflict")


async def test_a_deleted_schedules_waiting_jobs_keep_their_document(gateway: Gateway) -> None:
    client = await gateway.client()
    schedule = (await recurring(client)).headers["location"]
    run = (await client.post(schedule + "/run", headers={"Idempotency-Key": "one"})).headers["location"]
    again = await client.post(schedule + "/run", headers={"Idempotency-Key": "one"})
    assert again.headers["location"] == run
    await client.delete(schedule)
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 2
    await client.post(run + "/cancel")
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 1


async def test_s5_the_fleets_own_schedules_fire_and_are_nobodys(gateway: Gateway) -> None:
    database = gateway.database

    async def waits_for_its_time() -> bool:
        waits = "SELECT FROM ledger.schedules WHERE queue = 'ocr' AND next_at > now()"
        return bool(await database.fetch(waits))

    async def is_due(minute: int) -> None:
        due = "UPDATE ledger.schedules SET cron = $1, next_at = now() - interval '25 hours' WHERE queue = 'ocr'"
        await database.fetch(due, f"{minute} * * * *")
        await until(waits_for_its_time)

    for cron in ("0 3 1 1 *", "0 4 1 1 *"):  # as by a later migration
        for statement in provisioning.fleet_schedule("ocr", "nightly", cron):
            await database.fetch(statement)
    ((schedule, cron),) = await database.fetch("SELECT id, cron FROM ledger.schedules WHERE queue = 'ocr'")
    assert cron == "0 4 1 1 *"
    await until(waits_for_its_time)
    assert await database.fetch("SELECT FROM ledger.jobs WHERE queue = 'ocr'") == []
    await is_due(10)
    await is_due(20)
    made = await database.fetch("SELECT id, tenant, kind, payload FROM ledger.jobs WHERE queue = 'ocr'")
    ((job, *facts),) = made  # a run that is not done is not joined by another
    assert facts == [FLEET_TENANT, "nightly", {}]
    caller = await gateway.client("dev", Role.ADMIN, operator=True)
    ids = {"jobs": public_id(job), "schedules": public_id(schedule, "schedule")}
    tried = 0
    for operation in OPERATIONS:
        kind = operation.path.split("/")[2]
        if "{id}" in operation.path and kind in ids:
            path = operation.path.replace("{id}", ids[kind]).replace("{name}", "text.txt")
            body = {"paused": True} if operation.method == "PATCH" else None
            answer = await caller.request(operation.method, path, json=body)
            if operation.endpoint is remove_job:  # what is not there has been removed already
                assert answer.status_code == 204
            else:
                assert_problem(answer, 404, "not-found")
            tried += 1
    assert tried >= 12
    assert await database.fetch("SELECT FROM ledger.jobs WHERE id = $1", job)
    assert (await caller.get("/v1/schedules")).json()["schedules"] == []
    assert (await caller.get("/v1/jobs")).json()["jobs"] == []
    everything = {"filter": {"queue": "ocr"}}
    assert (await caller.post("/v1/jobs/cancel", json=everything)).json() == {"cancelled": 0, "cancelling": 0}


async def test_s5_no_tenant_has_the_name_of_the_fleet(gateway: Gateway) -> None:
    with pytest.raises(Misconfigured, match="No tenant can be named"):
        await gateway.client(FLEET_TENANT)
    with pytest.raises(asyncpg.CheckViolationError):
        await gateway.database.fetch("INSERT INTO identity.tenants (id) VALUES ($1)", FLEET_TENANT)

"""Every operation of the API, and what is none."""

from pathlib import Path
from typing import Any

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.db import Database
from services.gateway.endpoints.job_actions import remove_job
from services.gateway.identity.scopes import Role
from services.gateway.routes import OPERATIONS
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.mailing import mailing
from tests.relay import Relay


async def test_s5_what_another_tenant_has_is_not_there(
    gateway: Gateway, mail_database: Database, nats_bus: Bus, servers: Trio, tmp_path: Path
) -> None:
    """Every operation with an id in its path, with an id of another tenant: as if there were none."""
    mine, theirs = await gateway.client("mine", Role.ADMIN), await gateway.client("theirs", Role.ADMIN)
    document = (await theirs.post("/v1/ocr", **upload())).json()["id"]
    schedule = await theirs.post(
        "/v1/schedules", json={"name": "s", "queue": "ocr", "cron": "0 0 1 1 *", "payload": {"document": document}}
    )
    key = (await theirs.get("/v1/keys")).json()["keys"][0]["id"]
    await theirs.post(f"/v1/jobs/{document}/cancel")
    replay = await theirs.post("/v1/jobs/retry", json={"filter": {"queue": "ocr"}, "rate": 0.01})
    ids = {
        "mail": document,
        "jobs": document,
        "schedules": schedule.json()["id"],
        "keys": key,
        "replays": replay.json()["id"],
    }
    bodies: dict[str, Any] = {"change_schedule": {"paused": True}, "rotate_key": {}}
    tried = 0
    async with (
        mailing(mail_database, gateway.database, nats_bus, servers, tmp_path, Relay()) as mailer,
        mailer.answering(),
    ):
        for operation in OPERATIONS:
            kind = operation.path.split("/")[2]
            if "{id}" in operation.path and kind in ids:
                path = operation.path.replace("{id}", ids[kind]).replace("{name}", "text.txt")
                answer = await mine.request(operation.method, path, json=bodies.get(operation.endpoint.__name__))
                if operation.endpoint is remove_job:  # what is not there has been removed already
                    assert answer.status_code == 204
                else:
                    assert_problem(answer, 404, "not-found")
                tried += 1
    assert tried >= 14
    assert (await theirs.get(f"/v1/jobs/{document}")).status_code == 200
    listed = [(await mine.get(path)).json() for path in ("/v1/jobs", "/v1/schedules")]
    assert (listed[0]["jobs"], listed[1]["schedules"]) == ([], [])
    assert (await theirs.get(f"/v1/schedules/{ids['schedules']}")).json()["paused"] is False


async def test_unknown_paths_and_methods_are_problems_too(gateway: Gateway) -> None:
    client = await gateway.client()
    assert (await client.get("/v1/nothing")).status_code == 404
    wrong = await client.delete("/v1/jobs")
    assert wrong.status_code == 405
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_what_the_router_refuses_is_a_problem_too(gateway: Gateway) -> None:
    client = await gateway.client()
    assert_problem(await client.delete("/v1/jobs"), 405, "method-not-allowed")
    assert_problem(await client.get("/v1/nowhere"), 404, "not-found")
    assert_problem(await client.get("/v1/jobs?queue=%00"), 400, "bad-request")

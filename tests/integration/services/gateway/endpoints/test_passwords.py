"""The password of a document: sealed for its job, and in nothing that anybody is told or that is kept."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from libs.common.contracts.ids import parse_id
from libs.common.contracts.ocr import PASSWORDS
from libs.common.sealing import Sealer
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted, upload

PASSWORD = "correct-horse-bättery"  # noqa: S105
OPTIONS = {"password": PASSWORD}


def opened(gateway: Gateway, sealed: bytes, job: str) -> str:
    secret: SecretStr = gateway.app.state.settings.ocr_secret
    job_id = parse_id(job.rpartition("/")[2])
    assert job_id is not None
    return Sealer(secret.get_secret_value(), PASSWORDS).open(sealed, "dev", job_id).decode()


def with_secret(gateway: Gateway, secret: SecretStr | None) -> None:
    state = gateway.app.state
    state.settings = state.settings.model_copy(update={"ocr_secret": secret})


async def whole_row(gateway: Gateway) -> dict[str, Any]:
    (row,) = await gateway.database.fetch("SELECT to_jsonb(j) FROM ledger.jobs j")
    return dict(row[0])


async def test_it_is_sealed_for_its_job_and_nowhere_else(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await gateway.client()
    headers = {"Idempotency-Key": "once"}
    answer = await client.post("/v1/ocr", **upload(options=OPTIONS | {"dpi": 200}), headers=headers)
    assert answer.status_code == 202
    path = answer.headers["location"]
    row = await whole_row(gateway)
    assert opened(gateway, bytes.fromhex(row["secret"].removeprefix("\\x")), path) == PASSWORD
    assert row["payload"]["options"] == {"dpi": 200}
    shown = [
        answer,
        *[await client.get(path + part) for part in ("", "/why", "/children")],
        await client.get("/v1/jobs"),
    ]
    told = "".join([json.dumps(row), caplog.text, *capsys.readouterr(), *(one.text for one in shown)])
    for spelled in (PASSWORD, json.dumps(PASSWORD).strip('"'), PASSWORD.encode().hex(), "horse"):
        assert spelled not in told
    await client.post(path + "/cancel")
    assert (await whole_row(gateway))["secret"] is None


async def test_another_password_is_another_request(gateway: Gateway) -> None:
    client, headers = await gateway.client(), {"Idempotency-Key": "once"}
    first = await client.post("/v1/ocr", **upload(options=OPTIONS), headers=headers)
    again = await client.post("/v1/ocr", **upload(options=OPTIONS), headers=headers)
    assert first.json()["id"] == again.json()["id"]
    for other in ({"password": "x"}, {}):
        answer = await client.post("/v1/ocr", **upload(options=other), headers=headers)
        assert_problem(answer, 422, "idempotency-mismatch")
    sealed = (await whole_row(gateway))["request_sha256"]
    with_secret(gateway, SecretStr("z" * 32))
    answer = await client.post("/v1/ocr", **upload(options=OPTIONS), headers=headers)
    assert_problem(answer, 422, "idempotency-mismatch")
    assert (await whole_row(gateway))["request_sha256"] == sealed, "it is keyed: without the secret nobody can try"


@pytest.mark.parametrize("password", ["", "x" * 128, 7, ["x"], "a\x00b", "\ud800"])
async def test_what_is_no_password(gateway: Gateway, password: object) -> None:
    client = await gateway.client()
    options = json.dumps({"password": password})
    problem = assert_problem(
        await client.post("/v1/ocr", **upload() | {"data": {"options": options}}), 422, "invalid"
    )
    assert {error["field"] for error in problem["errors"]} <= {"options", "options.password"}
    assert gateway.blobs() == []


async def test_without_a_secret_none_is_taken(gateway: Gateway) -> None:
    client, path = await gateway.client(), await submitted(await gateway.client())
    await client.post(path + "/cancel")
    with_secret(gateway, None)
    problem = assert_problem(await client.post("/v1/ocr", **upload(options=OPTIONS)), 422, "invalid")
    assert problem["errors"][0]["field"] == "options.password"
    assert len(gateway.blobs()) == 1
    problem = assert_problem(await client.post(path + "/retry", json=OPTIONS), 422, "invalid")
    assert problem["errors"][0]["field"] == "body.password"
    assert (await client.post(path + "/retry")).status_code == 202


async def test_a_retry_may_bring_it_again(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await submitted(client, options={"password": "wrong"})
    await client.post(path + "/cancel")
    for body, status in (({"surprise": 1}, 422), ({"password": 7}, 422), ({"password": ""}, 422)):
        assert (await client.post(path + "/retry", json=body)).status_code == status
    answer = await client.post(path + "/retry", json=OPTIONS)
    assert answer.status_code == 202
    assert "horse" not in answer.text
    sealed = (await whole_row(gateway))["secret"]
    assert opened(gateway, bytes.fromhex(sealed.removeprefix("\\x")), path) == PASSWORD
    await client.post(path + "/cancel")
    assert (await client.post(path + "/retry", json={})).status_code == 202
    assert (await whole_row(gateway))["secret"] is None


async def test_schedules_take_none(gateway: Gateway) -> None:
    client = await gateway.client()
    document = (await submitted(client, options=OPTIONS)).rpartition("/")[2]
    recurring = {"name": "s", "queue": "ocr", "cron": "0 0 1 1 *", "payload": {"document": document} | OPTIONS}
    problem = assert_problem(await client.post("/v1/schedules", json=recurring), 422, "invalid")
    assert problem["errors"][0]["field"] == "body.payload.password"
    assert "horse" not in json.dumps(problem)

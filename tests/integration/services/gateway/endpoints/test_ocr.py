"""POST /v1/ocr: what is accepted, what is refused and how, and what is left behind."""

from typing import Any

import pytest

from libs.common.ledger import claim as leases
from libs.common.ledger.jobs import new_id
from tests.integration.services.gateway.gateway import PNG, Gateway, assert_problem, upload


async def test_s7_extra_fields_change_nothing(gateway: Gateway) -> None:
    client = await gateway.client()
    for name, value in {"tenant": "other", "state": "succeeded", "created_by": "x", "attempt": 9}.items():
        assert_problem(await client.post("/v1/ocr", **upload(options={name: value})), 422, "invalid")
    assert await gateway.database.fetch("SELECT 1 FROM ledger.jobs") == []


async def test_an_accepted_document_is_in_the_ledger_and_its_upload_in_the_store(gateway: Gateway) -> None:
    client = await gateway.client()
    options = {"languages": ["eng"], "priority": "high", "tags": ["a"], "dpi": 200}
    answer = await client.post("/v1/ocr", **upload(options=options))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["queue"], job["kind"], job["state"], job["priority"]) == ("ocr", "document", "queued", "high")
    assert job["progress"] == {"done": 0, "total": None, "note": None, "seconds_left": None}
    shown = (await client.get(answer.headers["location"])).json()
    assert shown == job | {"errors": []}
    (row,) = await gateway.database.fetch("SELECT payload FROM ledger.jobs")
    assert row[0]["media_type"] == "image/png"
    assert row[0]["options"]["dpi"] == 200
    (blob,) = gateway.blobs()
    assert blob.read_bytes() == PNG
    assert str(blob).endswith(row[0]["source"])


@pytest.mark.parametrize(
    ("request_", "status", "kind", "fields"),
    [
        (upload(b"{\\rtf1 " + bytes(2000)), 415, "unsupported-media-type", []),
        (upload(b""), 422, "invalid", ["file"]),
        (upload(PNG + bytes(1_100_000)), 413, "too-large", []),
        ({"data": {"options": "{}"}, "files": {"other": ("x", b"y")}}, 422, "invalid", ["file"]),
        (upload() | {"data": {"options": "{not json"}}, 422, "invalid", ["options"]),
        (upload(options={"dpi": 5, "x": 1}), 422, "invalid", ["options.dpi", "options.x"]),
        (upload(options={"psm": 0}), 422, "invalid", ["options.psm"]),
        (upload(options=[1]), 422, "invalid", ["options"]),
        (upload() | {"data": {"surprise": "1"}}, 422, "invalid", ["surprise"]),
        ({"content": PNG, "headers": {"content-type": "image/png"}}, 415, "unsupported-media-type", []),
        (
            {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "bad-request",
            [],
        ),
    ],
    ids=["rtf", "empty", "large", "no-file", "not-json", "options", "psm", "list", "unknown", "bare", "garbage"],
)  # fmt: skip
async def test_what_is_refused_is_named_and_leaves_nothing(
    gateway: Gateway, request_: dict[str, Any], status: int, kind: str, fields: list[str]
) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.post("/v1/ocr", **request_), status, kind)
    assert {error["field"] for error in problem.get("errors", [])} == set(fields)
    assert gateway.blobs() == []
    assert await gateway.database.fetch("SELECT 1 FROM ledger.jobs") == []


async def test_a_language_that_no_worker_has_is_refused_at_once(gateway: Gateway) -> None:
    client, languages = await gateway.client(), {"languages": ["eng", "zzz"]}
    document = (await client.post("/v1/ocr", **upload(options=languages))).json()["id"]
    worker = new_id()
    await leases.register(gateway.database, worker, queue="ocr", slots=1, host="h", pid=1)
    await leases.tell_offers(gateway.database, worker, {"languages": ["deu", "eng"]})
    problem = assert_problem(await client.post("/v1/ocr", **upload(options=languages)), 422, "invalid")
    message = "Not installed: zzz. Installed: deu, eng."
    refused = {"code": "not_allowed", "message": message}
    assert problem["errors"] == [refused | {"field": "options.languages", "pointer": "/languages"}]
    recurring = {"name": "s", "queue": "ocr", "cron": "0 0 1 1 *", "payload": {"document": document} | languages}
    problem = assert_problem(await client.post("/v1/schedules", json=recurring), 422, "invalid")
    assert problem["errors"] == [refused | {"field": "body.payload.languages", "pointer": "/payload/languages"}]
    assert len(gateway.blobs()) == 1, "of the one that came before the worker"
    for options in ({"languages": ["deu", "eng"]}, {}):
        assert (await client.post("/v1/ocr", **upload(options=options))).status_code == 202

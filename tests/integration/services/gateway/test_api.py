"""The HTTP API against real servers: what is accepted, what is refused and how, and what is left behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.types import Message

from deploy.local.test_servers import Trio
from libs.common.ledger import claim as leases
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import LIMIT, PNG, Gateway, assert_problem, upload


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


async def test_a_job_of_the_future_is_scheduled(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/ocr", **upload(options={"run_at": "2999-01-01T00:00:00Z"}))
    assert (answer.status_code, answer.json()["state"]) == (202, "scheduled")


@pytest.mark.parametrize(
    ("request_", "status", "kind", "fields"),
    [
        (upload(b"GIF89a" + bytes(2000)), 415, "unsupported-media-type", []),
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
    ids=["gif", "empty", "large", "no-file", "not-json", "options", "psm", "list", "unknown", "bare", "garbage"],
)  # fmt: skip
async def test_what_is_refused_is_named_and_leaves_nothing(
    gateway: Gateway, request_: dict[str, Any], status: int, kind: str, fields: list[str]
) -> None:
    client = await gateway.client()
    problem = assert_problem(await client.post("/v1/ocr", **request_), status, kind)
    assert {error["field"] for error in problem.get("errors", [])} == set(fields)
    assert gateway.blobs() == []
    assert await gateway.database.fetch("SELECT 1 FROM ledger.jobs") == []


async def test_an_upload_that_breaks_off_leaves_nothing(gateway: Gateway) -> None:
    client = await gateway.client()

    begun = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + PNG
    incoming: list[Message] = [
        {"type": "http.request", "body": begun, "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        answers.append(message)

    headers = [
        (b"authorization", client.headers["authorization"].encode()),
        (b"content-type", b"multipart/form-data; boundary=x"),
    ]
    scope = {"type": "http", "method": "POST", "path": "/v1/ocr", "query_string": b"", "headers": headers}
    await gateway.app(scope, receive, send)
    assert answers[0]["status"] == 499
    assert gateway.blobs() == []


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer argosy_dev_a_b_c"])
async def test_without_a_key_nothing_is_told(gateway: Gateway, header: str | None) -> None:
    client = gateway.anonymous(**({"Authorization": header} if header else {}))
    for call in (client.get("/v1/jobs"), client.post("/v1/ocr", **upload()), client.get("/v1/jobs/job_1")):
        answer = await call
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_or_expired_key_opens_nothing(gateway: Gateway) -> None:
    for column in ("revoked_at", "expires_at"):
        client = await gateway.client()
        await gateway.database.fetch(f"UPDATE identity.keys SET {column} = now()")  # noqa: S608
        assert_problem(await client.get("/v1/jobs"), 401, "unauthenticated")


async def test_a_reading_key_cannot_submit(gateway: Gateway) -> None:
    client = await gateway.client(role=Role.READ)
    assert_problem(await client.post("/v1/ocr", **upload()), 403, "forbidden")
    assert (await client.get("/v1/jobs")).status_code == 200


async def test_another_tenants_job_does_not_exist(gateway: Gateway) -> None:
    mine, theirs = await gateway.client("mine"), await gateway.client("theirs")
    path = (await theirs.post("/v1/ocr", **upload())).headers["location"]
    assert_problem(await mine.get(path), 404, "not-found")
    assert_problem(await mine.get(path + "/artifacts/text.txt"), 404, "not-found")
    assert (await mine.get("/v1/jobs")).json() == {"jobs": [], "next_cursor": None}


async def test_the_limit_is_exact_and_says_so(gateway: Gateway) -> None:
    client, other = await gateway.client(), await gateway.client()
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload()) for _ in range(LIMIT + 7)))
    assert sorted(answer.status_code for answer in answers) == [202] * LIMIT + [429] * 7
    for answer in answers:
        assert answer.headers["ratelimit-policy"] == f'"ocr";q={LIMIT};w=3600'
    assert all(0 <= left < LIMIT for left in map(remaining, answers))
    refused = next(answer for answer in answers if answer.status_code == 429)
    problem = assert_problem(refused, 429, "limit-exceeded")
    assert problem["violated-policies"] == ["ocr"]
    assert 3590 <= int(refused.headers["retry-after"]) <= 3600
    assert (await other.post("/v1/ocr", **upload())).status_code == 202
    assert len(await gateway.database.fetch("SELECT 1 FROM ledger.jobs")) == LIMIT + 1


def remaining(answer: httpx.Response) -> int:
    return int(answer.headers["ratelimit"].split(";")[1].removeprefix("r="))


async def test_limits_survive_a_redis_that_forgot_its_scripts(gateway: Gateway, servers: Trio) -> None:
    client = await gateway.client()
    async with Redis.from_url(servers.redis.url) as redis:
        await redis.script_flush()
    assert (await client.post("/v1/ocr", **upload())).status_code == 202


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


async def finished_job(gateway: Gateway, client: httpx.AsyncClient, content: bytes) -> str:
    """A job that ended with one artifact of that content; its path."""
    path = (await client.post("/v1/ocr", **upload())).headers["location"]
    (row,) = await gateway.database.fetch("SELECT id FROM ledger.jobs")

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    stored = await gateway.app.state.blobs.write("artifact", chunks())
    artifact = {"name": "text.txt", "media_type": "text/plain", "key": "artifact"}
    artifact |= {"size": stored.size, "sha256": stored.sha256}
    worker = new_id()
    await leases.register(gateway.database, worker, queue="ocr", slots=1, host="h", pid=1)
    await gateway.database.fetch("UPDATE ledger.jobs SET ticketed_at = coalesce(ticketed_at, now())")
    await leases.claim(gateway.database, worker, [row[0]])
    end = Outcome(row[0], 1, State.SUCCEEDED, result={"pages": 1}, artifacts=[artifact])
    assert await finish(gateway.database, worker, [end]) == [True]
    return path


async def test_an_artifact_is_served_whole_in_part_and_not_again(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await finished_job(gateway, client, b"0123456789")
    job = (await client.get(path)).json()
    (artifact,) = job["artifacts"]
    assert artifact["url"] == f"{path}/artifacts/text.txt"
    assert set(artifact) == {"name", "media_type", "size", "sha256", "url"}
    whole = await client.get(artifact["url"])
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["etag"] == f'"{artifact["sha256"]}"'
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''text.txt"
    part = await client.get(artifact["url"], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    known = await client.get(artifact["url"], headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    changed = await client.get(artifact["url"], headers={"Range": "bytes=2-4", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, b"0123456789")
    beyond = await client.get(artifact["url"], headers={"Range": "bytes=10-"})
    assert_problem(beyond, 416, "range-not-satisfiable")
    head = await client.head(artifact["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    assert_problem(await client.get(path + "/artifacts/other"), 404, "not-found")


async def test_a_job_seen_before_is_not_sent_again(gateway: Gateway) -> None:
    client = await gateway.client()
    path = (await client.post("/v1/ocr", **upload())).headers["location"]
    etag = (await client.get(path)).headers["etag"]
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 304
    await gateway.database.fetch("UPDATE ledger.jobs SET attempt = 9")
    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 200


async def test_unknown_paths_and_methods_are_problems_too(gateway: Gateway) -> None:
    client = await gateway.client()
    assert (await client.get("/v1/nothing")).status_code == 404
    wrong = await client.delete("/v1/jobs")
    assert wrong.status_code == 405
    assert wrong.headers["content-type"] == "application/problem+json"


async def test_no_secret_is_kept_anywhere(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    client = await gateway.client()
    await client.post("/v1/ocr", **upload())
    secret = client.headers["authorization"].split("_")[3]
    kept = str(await gateway.database.fetch("SELECT * FROM identity.keys"))
    kept += str(await gateway.database.fetch("SELECT * FROM ledger.jobs"))
    assert secret not in kept + "".join(capsys.readouterr())


async def test_ready_says_what_is_there(gateway: Gateway) -> None:
    answer = await gateway.anonymous().get("/readyz")
    parts = {"postgres": True, "redis": True, "nats": True, "limits": "shared"}
    assert answer.json() | {"nats": True} == {"ready": True, **parts}
    assert (await gateway.anonymous().get("/livez")).text == "ok\n"
    assert (await gateway.anonymous().get("/metrics")).status_code == 404

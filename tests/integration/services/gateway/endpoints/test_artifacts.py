"""Artifacts as they are downloaded."""

from collections.abc import AsyncIterator

import httpx

from libs.common.ledger import claim as leases
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload


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

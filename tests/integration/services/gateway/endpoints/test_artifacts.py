"""Artifacts as they are downloaded."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deploy.local.test_servers import Trio
from libs.common.blobs import Blobs
from libs.common.config import BlobSettings
from libs.common.db import Database
from libs.common.ledger import claim as leases
from libs.common.ledger.finish import Outcome, finish
from libs.common.ledger.jobs import State, new_id
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests import bucket as buckets
from tests.integration.services.gateway.gateway import Gateway, assert_problem, upload
from tests.integration.services.gateway.live import serving


async def finished_job(database: Database, blobs: Blobs, client: httpx.AsyncClient, content: bytes) -> str:
    """A job that ended with one artifact of that content; its path."""
    path: str = (await client.post("/v1/ocr", **upload())).headers["location"]
    (row,) = await database.fetch("SELECT id FROM ledger.jobs")

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    stored = await blobs.write("artifact", chunks())
    artifact: dict[str, object] = {"name": "text.txt", "media_type": "text/plain", "key": "artifact"}
    artifact |= {"size": stored.size, "sha256": stored.sha256}
    worker = new_id()
    await leases.register(database, worker, queue="ocr", slots=1, host="h", pid=1)
    await database.fetch("UPDATE ledger.jobs SET ticketed_at = coalesce(ticketed_at, now())")
    await leases.claim(database, worker, [row[0]])
    end = Outcome(row[0], 1, State.SUCCEEDED, result={"pages": 1}, artifacts=[artifact])
    assert await finish(database, worker, [end]) == [True]
    return path


async def test_an_artifact_is_served_whole_in_part_and_not_again(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await finished_job(gateway.database, gateway.app.state.blobs, client, b"0123456789")
    job = (await client.get(path)).json()
    (artifact,) = job["artifacts"]
    assert artifact["url"] == f"{path}/artifacts/text.txt"
    assert set(artifact) == {"name", "filename", "media_type", "size", "sha256", "url"}
    assert artifact["filename"] == "text.txt"
    whole = await client.get(artifact["url"])
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    assert whole.headers["etag"] == f'"{artifact["sha256"]}"'
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''text.txt"
    part = await client.get(artifact["url"], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    known = await client.get(artifact["url"], headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    several = [("If-None-Match", '"other"'), ("If-None-Match", f"W/{whole.headers['etag']}")]
    assert (await client.get(artifact["url"], headers=several)).status_code == 304
    assert (await client.get(artifact["url"], headers={"If-None-Match": "*"})).status_code == 304
    changed = await client.get(artifact["url"], headers={"Range": "bytes=2-4", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, b"0123456789")
    beyond = await client.get(artifact["url"], headers={"Range": "bytes=10-"})
    assert_problem(beyond, 416, "range-not-satisfiable")
    head = await client.head(artifact["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    head = await client.head(artifact["url"], headers={"Range": "bytes=2-4"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10"), "a range is for GET only"
    assert "content-range" not in head.headers
    assert_problem(await client.get(path + "/artifacts/other"), 404, "not-found")


async def test_a_file_that_is_gone_is_404_and_a_store_that_is_away_503(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await finished_job(gateway.database, gateway.app.state.blobs, client, b"0123456789")
    url = f"{path}/artifacts/text.txt"
    etag = (await client.get(url)).headers["etag"]
    folder, aside = gateway.folder, gateway.folder.with_name("aside")
    folder.rename(aside)
    for answer in (await client.get(url), await client.get(url, headers={"Range": "bytes=2-4"})):
        assert_problem(answer, 503, "storage-unavailable")
        assert answer.headers["retry-after"] == "5"
        assert str(folder) not in answer.text
    assert (await client.head(url)).status_code == 503
    known = await client.get(url, headers={"If-None-Match": etag})
    assert known.status_code == 304, "who has the file need not wait for the store"
    aside.rename(folder)
    (folder / "artifact").unlink()
    assert_problem(await client.get(url), 404, "not-found")
    assert (await client.head(url)).status_code == 404


async def test_a_download_that_breaks_off_is_seen_to_and_logged_in_one_line(
    servers: Trio, database_url: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with buckets.serving() as bucket:
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        async with serving(servers, database_url, tmp_path, BLOB_URL="s3://bucket") as (live,):
            key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
            async with httpx.AsyncClient(base_url=live.url, headers={"Authorization": f"Bearer {key}"}) as client:
                blobs = Blobs(BlobSettings.model_validate({"blob_url": "s3://bucket"}))
                path = await finished_job(database, blobs, client, bytes(12_000_000))
                bucket.cuts_after, bucket.refuses_after_cut = 5_000_000, True
                with pytest.raises(httpx.TransportError):
                    await client.get(f"{path}/artifacts/text.txt")
                logged = live.log.read_text()
    assert logged.count("response.cut") == 1
    assert "Traceback" not in logged
    assert "request.bug" not in logged

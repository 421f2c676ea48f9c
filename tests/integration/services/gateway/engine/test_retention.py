"""Old jobs and their files go; what is needed stays."""

import pytest

from libs.common.errors import Unavailable
from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted, upload


async def test_what_is_old_is_removed_with_its_files(gateway: Gateway) -> None:
    client = await gateway.client()
    path = await submitted(client)
    await client.post(path + "/cancel")
    assert len(gateway.blobs()) == 1
    await gateway.database.fetch("UPDATE ledger.jobs SET finished_at = now() - interval '31 days'")
    await gateway.retention.go_round()
    assert_problem(await client.get(path), 404, "not-found")
    assert gateway.blobs() == []


async def test_files_that_no_job_came_for_are_removed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their gateway died, or cannot know whether the job was committed."""
    client = await gateway.client()
    await submitted(client)
    letter = {"from": "office@argosy.test", "to": ["ada@one.test"], "text": "Tides"}
    file = {"filename": "a.txt", "media_type": "text/plain", "content": "MDY6MDA="}

    async def die(_job: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.app.state.dispatcher, "accept", die)
        assert_problem(await client.post("/v1/ocr", **upload()), 503, "service-unavailable")
        assert_problem(
            await client.post("/v1/mail", json=letter | {"attachments": [file]}), 503, "service-unavailable"
        )
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 3, "the jobs may still come"
    await gateway.database.fetch("UPDATE ledger.uploads SET announced_at = announced_at - interval '2 hours'")
    await gateway.retention.go_round()
    assert len(gateway.blobs()) == 1
    assert await gateway.database.fetch("SELECT FROM ledger.uploads") == []


async def test_beyond_the_budget_in_bytes_the_oldest_go_first(gateway: Gateway) -> None:
    client = await gateway.client()
    keep, old = await submitted(client), await submitted(client)
    await client.post(old + "/cancel")
    await gateway.database.fetch("INSERT INTO ledger.entries VALUES ('ocr', 'bytes', 200 * 1024::bigint ^ 3)")
    await gateway.retention.go_round()
    assert_problem(await client.get(old), 404, "not-found")
    assert (await client.get(keep)).json()["state"] == "queued"
    assert len(gateway.blobs()) == 1

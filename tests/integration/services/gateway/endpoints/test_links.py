"""A link leads whoever has it to one file, and nobody to another one; it ends with its time and with its job."""

import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from libs.common.contracts.ids import parse_id
from libs.common.ledger.jobs import new_id
from libs.common.links import Link, token_of
from tests.exporting import LINK_SECRET, SUPPRESSIONS
from tests.integration.services.gateway.endpoints.test_exports import ended
from tests.integration.services.gateway.gateway import Gateway, assert_problem
from tests.polling import until

pytestmark = pytest.mark.usefixtures("exporter")


async def made(gateway: Gateway) -> tuple[httpx.AsyncClient, dict[str, Any]]:
    """A member, and a job with a file."""
    client = await gateway.client()
    await gateway.database.fetch(SUPPRESSIONS, "dev", 3)
    answer = await client.post("/v1/exports", json={"dataset": "suppressions", "format": "csv"})
    return client, await ended(client, answer)


async def test_a_link_needs_no_key_and_takes_ranges(gateway: Gateway) -> None:
    client, job = await made(gateway)
    file = job["artifacts"][0]
    answer = await client.post(f"{file['url']}/link", json={"expires_in_s": 60})
    assert answer.status_code == 201
    stranger = gateway.anonymous()
    whole = await stranger.get(answer.json()["url"])
    assert whole.content == (await client.get(file["url"])).content
    assert whole.headers["referrer-policy"] == "no-referrer"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"].startswith("attachment")
    assert "noindex" in whole.headers["x-robots-tag"]
    assert "no-store" in whole.headers["cache-control"]
    part = await stranger.get(answer.json()["url"], headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    assert (await stranger.head(answer.json()["url"])).headers["content-length"] == str(file["size"])


async def test_a_link_that_leads_nowhere_is_told_in_one_way(gateway: Gateway) -> None:
    _, job = await made(gateway)
    file = job["artifacts"][0]
    job_id = parse_id(job["id"])
    assert job_id is not None
    good = Link("dev", job_id, file["name"], file["sha256"], int(time.time()) + 60)
    stranger = gateway.anonymous()
    assert (await stranger.get(f"/v1/download/{token_of(good, LINK_SECRET)}")).status_code == 200
    wrong = [
        token_of(replace(good, expires=int(time.time()) - 1), LINK_SECRET),
        token_of(replace(good, tenant="other"), LINK_SECRET),
        token_of(replace(good, job=new_id()), LINK_SECRET),
        token_of(replace(good, name="manifest.json"), LINK_SECRET),
        token_of(replace(good, name="no.csv"), LINK_SECRET),
        token_of(good, LINK_SECRET + "!"),
        token_of(good, LINK_SECRET)[:-4],
        "x",
    ]
    answers = [await stranger.get(f"/v1/download/{token}") for token in wrong]
    assert len({told(answer) for answer in answers}) == 1
    for answer in answers:
        assert_problem(answer, 404, "not-found")
    await gateway.database.fetch("DELETE FROM ledger.jobs WHERE id = $1", job_id)
    gone = await stranger.get(f"/v1/download/{token_of(good, LINK_SECRET)}")
    assert told(gone) == told(answers[0])


def told(answer: httpx.Response) -> str:
    """The answer, without the id of its own request."""
    return answer.text.replace(answer.headers["x-request-id"], "")


async def test_only_who_may_read_the_job_makes_links(gateway: Gateway) -> None:
    client, job = await made(gateway)
    url = f"{job['artifacts'][0]['url']}/link"
    assert_problem(await (await gateway.client("other")).post(url, json={}), 404, "not-found")
    assert_problem(await client.post(url.replace("suppressions", "no"), json={}), 404, "not-found")
    assert_problem(await client.post(url, json={"expires_in_s": 7 * 86_400 + 1}), 422, "invalid")
    assert_problem(await client.post(url, json={"expires_in_s": 0}), 422, "invalid")
    assert_problem(await gateway.anonymous().post(url, json={}), 401, "unauthenticated")


async def test_a_link_is_not_in_the_log(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    client, job = await made(gateway)
    link = (await client.post(f"{job['artifacts'][0]['url']}/link", json={})).json()["url"]
    await gateway.anonymous().get(link)
    said = ""

    async def is_said() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "/v1/download/" in said

    await until(is_said)
    assert link not in said

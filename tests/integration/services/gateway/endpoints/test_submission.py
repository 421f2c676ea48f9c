"""What every submission has in common: the fields and headers of a job, and the answer."""

import asyncio

from tests.integration.services.gateway.gateway import Gateway, assert_problem, submitted, upload
from tests.integration.services.gateway.streams import working


async def test_a_job_of_the_future_is_scheduled(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/ocr", **upload(options={"run_at": "2999-01-01T00:00:00Z"}))
    assert (answer.status_code, answer.json()["state"]) == (202, "scheduled")


async def test_prefer_wait_answers_with_the_end_or_with_202(gateway: Gateway) -> None:
    client, gate = await gateway.client(), asyncio.Event()
    slow = await client.post("/v1/ocr", **upload(), headers={"Prefer": "wait=1"})
    assert (slow.status_code, slow.json()["state"]) == (202, "queued")
    assert slow.headers["preference-applied"] == "wait=1"
    gate.set()
    async with working(gateway, gate):
        quick = await client.post("/v1/ocr", **upload(), headers={"Prefer": "respond-async, wait=60"})
    assert (quick.status_code, quick.json()["state"], quick.json()["result"]) == (200, "succeeded", {"pages": 1})


async def test_the_same_request_again_is_the_same_job(gateway: Gateway) -> None:
    client = await gateway.client()
    headers = {"Idempotency-Key": "a-1"}
    answers = await asyncio.gather(*(client.post("/v1/ocr", **upload(), headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", *["true"] * 3]
    assert {answer.headers["idempotency-max-age"] for answer in answers} == {str(30 * 86_400)}
    assert len(gateway.blobs()) == 1
    other = await client.post("/v1/ocr", **upload(options={"dpi": 200}), headers=headers)
    assert_problem(other, 422, "idempotency-mismatch")
    assert len(gateway.blobs()) == 1


async def test_a_key_that_is_none_is_refused(gateway: Gateway) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/ocr", **upload(), headers={"Idempotency-Key": "two words"})
    assert assert_problem(answer, 422, "invalid")["errors"][0]["field"] == "header.Idempotency-Key"
    assert gateway.blobs() == []


async def test_unique_for_gives_the_job_that_is_there(gateway: Gateway) -> None:
    client = await gateway.client()
    first = await submitted(client, options={"unique_for": "nightly"})
    assert await submitted(client, options={"unique_for": "nightly", "dpi": 200}) == first
    assert await submitted(client, options={"unique_for": "weekly"}) != first


async def test_an_answer_says_that_a_submission_has_joined_another_job(gateway: Gateway) -> None:
    client, once = await gateway.client(), {"Idempotency-Key": "a-1"}
    options = {"unique_for": "nightly"}
    first = await client.post("/v1/ocr", **upload(options=options), headers=once)
    joined = await client.post(
        "/v1/ocr", **upload(options=options | {"dpi": 200}), headers={"Idempotency-Key": "b"}
    )
    again = await client.post("/v1/ocr", **upload(options=options), headers=once)
    assert first.json()["id"] == joined.json()["id"] == again.json()["id"]
    told = [answer.headers.get("unique-for-joined") for answer in (first, joined, again)]
    assert told == [None, "true", None]
    assert "idempotency-max-age" not in joined.headers, "its key is not remembered"
    assert len(gateway.blobs()) == 1

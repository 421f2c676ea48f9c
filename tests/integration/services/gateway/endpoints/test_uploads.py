"""Uploads as they come in."""

from starlette.types import Message

from tests.integration.services.gateway.gateway import PNG, Gateway, assert_problem, upload
from tests.polling import until


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


async def test_an_upload_while_the_store_is_away_is_refused_and_the_return_is_noticed(gateway: Gateway) -> None:
    client = await gateway.client()
    aside = gateway.folder.rename(gateway.folder.with_name("aside"))
    refused = await client.post("/v1/ocr", **upload())
    assert_problem(refused, 503, "storage-unavailable")
    assert refused.headers["retry-after"] == "5"
    assert str(gateway.folder) not in refused.text
    assert not gateway.folder.exists(), "nothing is written where nobody looks later"

    async def is_told_by_a_ready_gateway() -> bool:
        told = await gateway.anonymous().get("/readyz")
        assert told.json()["storage"] is False
        return told.status_code == 200

    await until(is_told_by_a_ready_gateway)
    wrong = await client.post("/v1/ocr", **upload(b"neither picture nor PDF"))
    assert_problem(wrong, 415, "unsupported-media-type")
    aside.rename(gateway.folder)

    async def is_back() -> bool:
        return bool((await gateway.anonymous().get("/readyz")).json()["storage"])

    await until(is_back)
    assert gateway.blobs() == []
    assert (await client.post("/v1/ocr", **upload())).status_code == 202


async def test_a_repeated_upload_is_answered_though_its_copy_cannot_be_removed(gateway: Gateway) -> None:
    client = await gateway.client()
    client.headers["Idempotency-Key"] = "once"
    first = await client.post("/v1/ocr", **upload())
    accept = gateway.app.state.dispatcher.accept

    async def away_meanwhile(job: object) -> object:
        gateway.folder.rename(gateway.folder.with_name("aside"))
        return await accept(job)

    gateway.app.state.dispatcher.accept = away_meanwhile
    again = await client.post("/v1/ocr", **upload())
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])

"""Uploads as they come in."""

from starlette.types import Message

from tests.integration.services.gateway.gateway import PNG, Gateway


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

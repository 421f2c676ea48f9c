"""Uploads as they come in."""

from typing import Any

import pytest
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


def parts(*heads: bytes, content: bytes = PNG) -> dict[str, Any]:
    """A body with a part for each Content-Disposition."""
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n" for head in heads
    )
    return {"content": body + b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ('filename="Rechnung März.png"'.encode(), "Rechnung März.png"),
        ('filename="Rechnung März.png"'.encode("latin-1"), "Rechnung M\ufffdrz.png"),
        (b'filename="\x90\xbf\x8b\x81\x8f\x91.png"', "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd.png"),
        (b"filename*=UTF-8''M%C3%A4rz.png", "März.png"),
        (b"filename*=iso-8859-1''M%E4rz.png", "M\ufffdrz.png"),
        (b'filename="Rechnung%20M%C3%A4rz.png"', "Rechnung März.png"),
        (b'filename="50%25%20off.png"', "50% off.png"),
        (b'filename="a %22b%22 %41.png"', 'a "b" %41.png'),
        (b'filename="%22M%C3%A4rz%22.png"', '"März".png'),
        (b'filename="M%E4rz.png"', "M%E4rz.png"),
        (b'filename="a%00%07.png"', "a%00%07.png"),
        (b'filename=""', ""),
        (b'filename="a\xff\xfe\x85.png"', "a\ufffd\ufffd\ufffd.png"),
    ],
)
async def test_a_file_may_have_a_name_in_any_charset(gateway: Gateway, named: bytes, kept: str) -> None:
    client = await gateway.client()
    answer = await client.post("/v1/ocr", **parts(b'name="file"; ' + named))
    assert answer.status_code == 202, answer.text
    ((name,),) = await gateway.database.fetch("SELECT payload ->> 'filename' FROM ledger.jobs")
    assert name == kept


async def test_a_wrong_part_is_told_which_is_right(gateway: Gateway) -> None:
    client = await gateway.client()
    wrong = await client.post("/v1/ocr", **parts(b'name="document"; filename="a.png"'))
    (error,) = assert_problem(wrong, 422, "invalid")["errors"]
    assert (error["field"], "`document`" in error["message"]) == ("file", True)
    assert gateway.blobs() == []


@pytest.mark.parametrize("body", [parts(b'name="options"; x="' + b"y" * 20_000 + b'"'), parts(b"name")])
async def test_a_malformed_body_is_told_in_our_words(gateway: Gateway, body: dict[str, Any]) -> None:
    client = await gateway.client()
    detail = assert_problem(await client.post("/v1/ocr", **body), 400, "bad-request")["detail"]
    assert "multipart" in detail
    assert "Error" not in detail

"""What is no HTTP, on the wire: each is a problem with the id of its request, and ends the connection."""

import httpx
import orjson
import pytest

from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import upload
from tests.integration.services.gateway.http.raw_http import raw
from tests.integration.services.gateway.live import LiveGateway

HOST = b"Host: example.com\r\n"
LONG = b"X-Long: " + b"x" * 70_000 + b"\r\n"
REFUSED = {
    "no host": (b"GET /v1/jobs HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "other host": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b"Host: b.example\r\n\r\n", 400),
    "bad host": (b"GET /v1/jobs HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "no version": (b"GET /v1/jobs\r\n\r\n", 400),
    "other version": (b"GET /v1/jobs HTTP/3.7\r\n" + HOST + b"\r\n", 400),
    "large head": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + LONG + b"\r\n", 431),
    "large target": (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "two keys": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + 2 * b"Authorization: Bearer x\r\n" + b"\r\n", 400),
    "no name": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", 400),
    "space": (b"GET /v1/jobs HTTP/1.1\r\n" + HOST + b"X : x\r\n\r\n", 400),
    "method": (b"G@T /v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes": (b"GET /v1/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two lengths": (
        b"POST /v1/mail HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
}
GET = b"GET %s HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer %s\r\n%s" + HOST + b"\r\n"


async def test_s23_what_is_no_http_is_a_problem_that_can_be_asked_about(live: LiveGateway) -> None:
    for what, (sent, status) in REFUSED.items():
        head, _, body = (await raw(live, sent)).partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 %d" % status), (what, head)
        assert b"content-type: application/problem+json" in lines, what
        assert b"x-content-type-options: nosniff" in lines, what
        assert [line for line in lines if line.startswith(b"x-request-id: ")], what
        assert orjson.loads(body)["status"] == status, what


@pytest.mark.parametrize(
    "target", [b"/v1/jobs", b"http://example.com/v1/jobs", b"/v1/jobs?limit=5&queue=ocr", b"/v1/job%73"]
)
async def test_the_same_is_asked_for_in_several_ways(live: LiveGateway, database: Database, target: bytes) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.READ)).key.encode()
    answer = await raw(live, GET % (target, key, b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer


async def test_fields_that_are_lists_may_stand_on_several_lines(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "test", Role.MEMBER)).key
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=live.url, headers=headers) as client:
        path = (await client.post("/v1/ocr", **upload())).headers["location"].encode()
        await client.post(path.decode() + "/cancel")
        etag = (await client.get(path.decode())).headers["etag"].encode()
    for lines, status in (
        ((b'"x"', etag), 304),
        ((b'"x", W/' + etag,), 304),
        ((b"*",), 304),
        ((b'"x"', b'"y"'), 200),
        ((etag.strip(b'"'),), 200),
    ):
        fields = b"".join(b"If-None-Match: %s\r\n" % line for line in lines)
        answer = await raw(live, GET % (path, key.encode(), fields))
        assert answer.startswith(b"HTTP/1.1 %d " % status), (lines, answer)

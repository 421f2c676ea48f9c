"""Requests that are refused before they have come: the answer arrives, and the connection ends."""

import asyncio

import pytest

from libs.common.db import Database
from services.gateway.http.early_answers import REST_AT_MOST
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.http.raw_http import sent_first
from tests.integration.services.gateway.live import LiveGateway

PIECE = b"a" * 1_000_000
LARGE, PIECES = b"Content-Length: 27000000\r\n", 27
"""A letter of 25 MiB has at most 26,214,400 bytes."""
MULTIPART = b"Content-Type: multipart/form-data; boundary=edge\r\n"
FILE = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FIELD = b'--edge\r\nContent-Disposition: form-data; name="options"\r\n\r\n'
JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("status", "role", "target", "fields", "begun"),
    [
        (401, None, b"POST /v1/ocr", MULTIPART, b""),
        (403, Role.READ, b"POST /v1/mail", JSON, b""),
        (404, None, b"POST /v1/nothing", b"", b""),
        (405, None, b"PUT /v1/ocr", b"", b""),
        (413, Role.MEMBER, b"POST /v1/mail", JSON, b""),
        (413, Role.MEMBER, b"POST /v1/mail/preview", JSON, b""),
        (415, Role.MEMBER, b"POST /v1/mail", b"Content-Encoding: gzip\r\n" + JSON, b""),
        (415, Role.MEMBER, b"POST /v1/ocr", MULTIPART, FILE),
        (422, Role.MEMBER, b"POST /v1/ocr", MULTIPART, FIELD),
        (404, Role.MEMBER, b"POST /v1/jobs/job_00000000000000000000000000000000/cancel", b"", b""),
        (200, None, b"GET /livez", b"", b""),
    ],
)
async def test_a_client_that_reads_last_gets_its_answer(
    live: LiveGateway,
    database: Database,
    status: int,
    role: Role | None,
    target: bytes,
    fields: bytes,
    begun: bytes,
) -> None:
    head = target + b" HTTP/1.1\r\nHost: x\r\n" + fields + LARGE
    if role is not None:
        head += f"Authorization: Bearer {(await issue(database, 'dev', 'dev', 'k', role)).key}\r\n".encode()
    upload = [head + b"\r\n" + begun, *[PIECE] * (PIECES - 1)]
    answer = await asyncio.to_thread(sent_first, live.port, *upload)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("size", [1, REST_AT_MOST])
async def test_a_small_body_that_is_refused_costs_no_connection(live: LiveGateway, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    for _ in range(3):
        writer.write(b"POST /v1/mail HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        await asyncio.sleep(0)
        writer.write(bytes(size))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close" not in head
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()


async def test_who_asks_before_sending_is_refused_at_once(live: LiveGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(b"POST /v1/mail HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401"), "and not 100"
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()

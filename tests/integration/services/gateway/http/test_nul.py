"""Whatever a caller writes into a place of a request, it is an error of the caller's at most, and no bug."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.test_servers import Trio
from libs.common.bus import Bus
from libs.common.config import DatabaseSettings
from libs.common.db import Database
from services.gateway.http.operations import Operation
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import OPERATOR, ROLES, Role
from services.gateway.routes import OPERATIONS
from tests import analysing, syncing
from tests.integration.services.gateway.live import LiveGateway, serving
from tests.integration.services.gateway.paths import filled
from tests.mailing import mailing
from tests.relay import Relay

IN_JSON = [
    rb'"\u0000"', rb'"a\u0000b@example.com"', rb'{"\u0000": 1}', rb'"\ud800"', rb'"\udc00\ud800"', b'"\xff"',
    b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b"NaN", b"1e999", b"9" * 40, b"-1", b"1.5", b"null", b"[[[]]]",
    b"{}", rb'"{{ \u0022\\ud800\u0022 }}"', b'"' + b"x" * 5000 + b'"', rb'"\u202e\u2028"', b'"%00"', b"[", b'"',
]  # fmt: skip
IN_URL = [
    b"%00", b"a%00b", b"%", b"%zz", b"%ff", b"%ed%a0%80", b"%f0%9f%98%80", b"%0d%0aX:%20y", b"%2e%2e%2f",
    b"9" * 40, b"-1", b"x" * 3000, b"%u0000", b"+", b"NaN", b"1e999", b"{}", b"%22", b"%c3%bc",
]  # fmt: skip
IN_HEADER = [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3\xbc", b"x" * 3000, b"9" * 40, b"%00", b"", b"\t", b'"', b"=;,="]
HEADERS = (
    "traceparent",
    "Range",
    "If-None-Match",
    "Content-Type",
    "X-Forwarded-For",
    "Origin",
    "Cookie",
    "Accept",
)
"""Those that are read before the operation, or by few of them."""
FILENAMES = [
    rb'filename="\u0000.png"', b'filename="\xff\xfe.png"', b'filename="' + b"x" * 3000 + b'"', b"filename=",
    b"filename*=utf-8''%00", b"filename*=utf-8''%ed%a0%80", b"filename*=x''y", b'filename="a\x00b"',
]  # fmt: skip
SCHEDULE = {"name": "n", "queue": "mailer", "cron": "0 6 * * *", "timezone": "UTC", "payload": {"x": 1}}
EXAMPLES: dict[str, Any] = {
    "POST /v1/schedules": SCHEDULE,
    "POST /v1/mail/preview": {"subject": "s", "text": "{{ x }}", "variables": {"x": {"y": ["z"]}}},
}

Request = bytes


def head(method: str, target: bytes, *lines: bytes, length: int = 0) -> bytes:
    fields = [b"Host: x", b"Connection: close", b"Content-Length: %d" % length, *lines]
    return b"%s %s HTTP/1.1\r\n" % (method.encode(), target) + b"\r\n".join(fields) + b"\r\n\r\n"


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something else can be put into `document`: in the place of each of its parts."""
    yield at
    if isinstance(document, dict | list):
        for name, part in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(part, (*at, name))


def put(document: Any, at: tuple[Any, ...], what: bytes) -> bytes:
    """`document` as JSON with `what` in this place."""
    mark = "the place where it goes"
    copy = json.loads(json.dumps({"": document}))
    *way, last = ("", *at)
    part = copy
    for name in way:
        part = part[name]
    part[last] = mark
    return json.dumps(copy[""]).encode().replace(json.dumps(mark).encode(), what)


def example(operation: Operation) -> Any:
    """A body that is right, or nearly."""
    assert operation.body is not None
    known = EXAMPLES.get(f"{operation.method} {operation.path}")
    extra: Any = operation.body.model_config.get("json_schema_extra")
    found = extra.get("examples") if isinstance(extra, dict) else None
    return known or (found[0] if found else dict.fromkeys(operation.body.model_fields, "x"))


def in_url(operation: Operation, auth: bytes) -> Iterator[Request]:
    """In each parameter of the path and of the query, and as the name of one."""
    path = filled(operation.path).encode()
    for match in re.finditer(r"{\w+}", operation.path):
        before, after = filled(operation.path[: match.start()]), filled(operation.path[match.end() :])
        for what in IN_URL:
            yield head(operation.method, before.encode() + what + after.encode(), auth)
    for name in operation.query.model_fields if operation.query else ("x",):
        for what in IN_URL:
            yield head(operation.method, path + b"?" + name.encode() + b"=" + what, auth)
            yield head(operation.method, path + b"?" + what + b"=1", auth)


def in_headers(operation: Operation, auth: bytes) -> Iterator[Request]:
    """In each header field that the operation reads; for some operations, in all that are read anywhere."""
    reads_all = operation.path in ("/v1/jobs", "/v1/mail", "/v1/jobs/{id}")
    for field in ("Authorization", *operation.headers, *(HEADERS if reads_all else ())):
        for what in IN_HEADER:
            known = [] if field == "Authorization" else [auth]
            yield head(operation.method, filled(operation.path).encode(), *known, field.encode() + b": " + what)


def in_body(operation: Operation, auth: bytes) -> Iterator[Request]:
    """In the place of each part of the JSON body."""
    if operation.body is not None:
        for at in places(document := example(operation)):
            for what in IN_JSON:
                body = put(document, at, what)
                lines = (auth, b"Content-Type: application/json")
                yield head(operation.method, filled(operation.path).encode(), *lines, length=len(body)) + body


def in_parts(operation: Operation, auth: bytes) -> Iterator[Request]:
    """As the options of an upload, and in the name of its file."""
    if operation.multipart is not None:
        names = [(b"{}", name) for name in FILENAMES] + [(options, b'filename="a"') for options in IN_JSON]
        for options, name in names:
            body = b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n' + options
            body += b'\r\n--b\r\nContent-Disposition: form-data; name="file"; ' + name
            body += b"\r\n\r\n%PDF-1.7\r\n--b--\r\n"
            lines = (auth, b"Content-Type: multipart/form-data; boundary=b")
            yield head(operation.method, filled(operation.path).encode(), *lines, length=len(body)) + body


async def status(gateway: LiveGateway, request: Request) -> int:
    """The status of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request)
        answer = await reader.read()
        return int(answer[9:12])
    finally:
        writer.close()


@pytest.fixture
async def gateway(
    servers: Trio,
    database_settings: DatabaseSettings,
    database_url: str,
    database: Database,
    mail_database: Database,
    nats_bus: Bus,
    tmp_path: Path,
) -> AsyncIterator[LiveGateway]:
    secret = "a secret of the tests, and of nobody else"  # noqa: S105
    async with (
        serving(servers, database_url, tmp_path, TOKEN_SECRET=secret, CORS_ORIGINS="https://a.test") as (one,),
        mailing(mail_database, database, nats_bus, servers, tmp_path, Relay()) as mailer,
        mailer.answering(),
        analysing.answering(database_settings, nats_bus, tmp_path),
        syncing.answering(database_settings, nats_bus, tmp_path / "sync"),
    ):
        yield one


@pytest.mark.long
async def test_nothing_that_a_caller_writes_is_a_bug(gateway: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "fuzz", Role.ADMIN, scopes=ROLES[Role.ADMIN] | OPERATOR)).key
    count, seen, limit = 0, set(), asyncio.Semaphore(8)

    async def ask(request: Request) -> None:
        async with limit:
            answered = await status(gateway, request)
            if answered == 503:  # a busy machine: the mailer has not answered in time
                answered = await status(gateway, request)
        seen.add(answered)
        assert 200 <= answered < 500, request[:2000]

    for operation in OPERATIONS:
        auth = b"Authorization: Bearer " + key.encode()
        ways = (in_url, in_headers, in_body, in_parts)
        requests = [request for way in ways for request in way(operation, auth)]
        count += len(requests)
        await asyncio.gather(*map(ask, requests))
    assert count > 50 * len(OPERATIONS)
    assert {200, 202, 400, 401, 404, 422} <= seen
    logged = [line for line in gateway.log.read_bytes().splitlines() if b'"level":"info"' not in line]
    assert logged == [], "one quiet line for each"

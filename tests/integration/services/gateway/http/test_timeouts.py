"""Requests that take too long, over TCP."""

from libs.common.db import Database
from services.gateway.identity.keys import issue
from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.http.raw_http import raw
from tests.integration.services.gateway.live import LiveGateway


async def test_s12_a_body_that_trickles_in_is_cut_off(live: LiveGateway, database: Database) -> None:
    key = (await issue(database, "dev", "dev", "admin", Role.ADMIN)).key
    head = (
        f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    answer = await raw(live, head.encode() + b"Content-Length: 9000\r\n\r\n{", *[b" "] * 10, pause_s=0.5)
    assert answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 503"))

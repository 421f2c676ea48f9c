"""Bodies that are no JSON, or not the JSON that was asked for."""

import pytest

from services.gateway.identity.scopes import Role
from tests.integration.services.gateway.gateway import Gateway, assert_problem


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"{", "application/json", (400, "bad-request")),
        (b'{"name": "a\\u0000b"}', "application/json", (400, "bad-request")),
        (b"{}", "text/plain", (415, "unsupported-media-type")),
        (b" " * 300_000, "application/json", (413, "too-large")),
        (b'{"name": "x", "scopes": [NaN]}', "application/json", (400, "bad-request")),
        (b'{"name": "x", "scopes": [-Infinity]}', "application/json", (400, "bad-request")),
        (b'{"name": "x", "scopes": [1e400]}', "application/json", (400, "bad-request")),
        (b'{"name": "x", "scopes": [' + b"9" * 250 + b"e99]}", "application/json", (400, "bad-request")),
        (b'{"name": "NaN and Infinity", "scopes": [1]}', "application/json", (422, "invalid")),
    ],
    ids=["half", "nul", "plain", "large", "nan", "infinity", "overflow", "digits", "words"],
)
async def test_bodies_that_are_none(gateway: Gateway, content: bytes, kind: str, problem: tuple[int, str]) -> None:
    admin = await gateway.client(role=Role.ADMIN)
    assert_problem(await admin.post("/v1/keys", content=content, headers={"Content-Type": kind}), *problem)

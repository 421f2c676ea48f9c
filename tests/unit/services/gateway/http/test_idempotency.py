"""What makes two requests the same."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from services.gateway.http.idempotency import idempotency_headers, idempotency_key, once
from services.gateway.problems import Invalid


class Body(BaseModel):
    """Something to make."""

    name: str
    number: float = 1.0


def request(*keys: str, operation: str = "create", days: Any = (30.0, {"mailer": 7.0}), **path: str) -> Request:
    headers = [(b"idempotency-key", key.encode()) for key in keys]
    endpoint, settings = SimpleNamespace(__name__=operation), SimpleNamespace(days_kept=days)
    app = SimpleNamespace(state=SimpleNamespace(settings=settings))
    return Request({"type": "http", "headers": headers, "endpoint": endpoint, "path_params": path, "app": app})


def test_without_a_key_every_request_is_one_of_its_own() -> None:
    assert idempotency_key(request()) is None
    assert once(request(), Body(name="a")) is None
    assert idempotency_headers(request(), is_repeat=False) == {}


def test_the_same_is_said_in_several_ways() -> None:
    assert once(request("k"), Body(name="a")) == once(
        request("k"), Body.model_validate({"number": 1, "name": "a"})
    )


@pytest.mark.parametrize(
    ("other", "body"),
    [
        (request("k"), Body(name="b")),
        (request("k", operation="rotate"), Body(name="a")),
        (request("k", id="1"), Body(name="a")),
    ],
)
def test_something_else_is_said(other: Request, body: Body) -> None:
    one, another = once(request("k"), Body(name="a")), once(other, body)
    assert one is not None
    assert another is not None
    assert (one.key, another.key) == ("k", "k")
    assert one.request_sha256 != another.request_sha256


def test_two_keys_are_none() -> None:
    with pytest.raises(Invalid):
        idempotency_key(request("a", "b"))


def test_a_key_is_remembered_as_long_as_what_it_has_made() -> None:
    told = idempotency_headers(request("k"), is_repeat=False)
    assert told == {"Idempotency-Max-Age": str(30 * 86_400)}
    assert idempotency_headers(request("k"), is_repeat=True, queue="ocr") == told | {
        "Idempotency-Replayed": "true"
    }
    told = idempotency_headers(request("k"), is_repeat=False, queue="mailer")
    assert told == {"Idempotency-Max-Age": str(7 * 86_400)}

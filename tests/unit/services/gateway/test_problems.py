"""Errors as application/problem+json (RFC 9457)."""

from typing import Any

import orjson
import pytest
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from libs.common.errors import Unavailable
from services.gateway import problems
from services.gateway.field_errors import AT_MOST, NAME_AT_MOST
from services.gateway.problems import (
    Asked,
    Conflict,
    LimitExceeded,
    MethodNotAllowed,
    Problem,
    ServiceUnavailable,
    TooManyKeys,
    Unauthenticated,
    invalid_fields,
    render,
    response_to,
)

EVERY = [
    kind
    for kind in vars(problems).values()
    if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem
]


def document(response: Response) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(bytes(response.body))
    return read


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_kind_says_what_it_is(kind: type[Problem]) -> None:
    response = render(kind())
    told = document(response)
    assert response.media_type == "application/problem+json"
    assert response.headers["content-type"] == "application/problem+json"
    assert set(told) == {"type", "code", "title", "status", "detail"}
    assert told["status"] == response.status_code == kind.status
    assert told["detail"]
    assert "\n" not in told["detail"], "one line for whoever reads it"


def test_no_two_kinds_have_the_same_code_or_title() -> None:
    assert len({document(render(kind()))["code"] for kind in EVERY}) == len(EVERY)
    assert len({kind.title for kind in EVERY}) == len(EVERY)


def test_types_are_registered_and_the_same_wherever_a_gateway_is_reached() -> None:
    for base in ("", "/api", "https://api.example.com"):
        told = {kind: document(render(kind(), Asked("req_1", base))) for kind in EVERY}
        assert told.pop(LimitExceeded)["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert {one["type"] for one in told.values()} == {"about:blank"}
        assert told[TooManyKeys]["code"] == "too_many_keys"
        assert told[TooManyKeys]["doc_url"] == f"{base}/docs#problem-too-many-keys"


def test_what_is_known_of_the_case_goes_with_it() -> None:
    problem = LimitExceeded("Slower.", headers={"Retry-After": "7"}, **{"violated-policies": ["api"]})
    response = render(problem)
    assert document(response)["detail"] == "Slower."
    assert document(response)["violated-policies"] == ["api"]
    assert response.headers["retry-after"] == "7"
    assert Unauthenticated(headers={"X": "y"}).headers == {"WWW-Authenticate": "Bearer", "X": "y"}


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind.status == 503], ids=lambda kind: kind.__name__)
def test_whoever_is_put_off_is_told_until_when(kind: type[Problem]) -> None:
    assert int(render(kind()).headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (HTTPException(418), 500, "internal_error"),
        (Unavailable("postgresql://u:secret@h is away"), 503, "service_unavailable"),
        (Conflict("No."), 409, "conflict"),
    ],
    ids=["path", "method", "other", "unavailable", "problem"],
)
def test_what_is_foreseen_becomes_a_problem(error: Exception, status: int, code: str) -> None:
    response = response_to(error)
    assert response.status_code == document(response)["status"] == status
    assert document(response)["code"] == code
    assert b"secret" not in bytes(response.body)


def test_the_allowed_methods_are_kept_and_nobody_is_answered_who_has_gone() -> None:
    assert response_to(HTTPException(405, headers={"Allow": "GET, HEAD"})).headers["allow"] == "GET, HEAD"
    assert render(MethodNotAllowed(headers={"Allow": "POST"})).headers["allow"] == "POST"
    gone = response_to(ClientDisconnect())
    assert (gone.status_code, bytes(gone.body)) == (499, b"")
    assert response_to(Unavailable()).headers["retry-after"] == ServiceUnavailable.always["Retry-After"]


class Inner(BaseModel):
    """A part."""

    size: int = Field(gt=0)


class Outer(BaseModel):
    """A whole."""

    name: str
    parts: list[Inner]


def test_of_very_many_wrong_fields_the_first_are_named_and_none_at_length() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"name": "x", "parts": [{"size": 0}] * 5000})
    problem = invalid_fields(caught.value, within="body" * 10_000)
    assert str(problem).startswith("5000 fields")
    assert len(problem.members["errors"]) == AT_MOST
    assert len(render(problem).body) < AT_MOST * 2 * NAME_AT_MOST


def test_every_wrong_field_is_named_and_no_value_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"parts": [{"size": 1}, {"size": "hunter2"}, {"size": -5}]})
    problem = invalid_fields(caught.value, within="body")
    errors = problem.members["errors"]
    assert {error["field"] for error in errors} == {"body.name", "body.parts.1.size", "body.parts.2.size"}
    assert all(error["message"] for error in errors)
    assert "hunter2" not in str(errors)
    assert "-5" not in str(errors)

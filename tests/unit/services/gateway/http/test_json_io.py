"""JSON in and out, without a server: types are what they are, and every wrong field is told."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from libs.common.contracts.moments import Moment
from services.gateway.http.json_io import Text, json_response, parse_json, read_json, read_query
from services.gateway.problems import BadRequest, Invalid, TooLarge, UnsupportedMediaType

WRITABLE = st.text(alphabet='aZ0 "\\/{}\n\t\x7fé☂\u2028😀')


class Thing(BaseModel):
    """Something."""

    model_config = ConfigDict(extra="forbid")

    count: int
    name: Text = ""
    at: Moment | None = None
    ratio: float = 0.0
    rest: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"count": "5"}', {"body.count"}),
        ('{"count": true}', {"body.count"}),
        ('{"count": 1, "name": 2, "more": 3}', {"body.name", "body.more"}),
        ("{}", {"body.count"}),
        ("[]", {"body"}),
        ('{"count": 1, "at": "2030-01-01T00:00:00"}', {"body.at"}),
        ('{"count": 1, "at": "1969-12-31T23:59:59Z"}', {"body.at"}),
        ('{"count": 1, "at": "9001-01-01T00:00:00Z"}', {"body.at"}),
    ],
)
def test_every_wrong_field_is_named(text: str, fields: set[str]) -> None:
    with pytest.raises(Invalid) as refused:
        parse_json(text.encode(), Thing, within="body")
    assert {error["field"] for error in refused.value.members["errors"]} == fields


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'count': 1}",
        '{"count": 1,}',
        '{"count": NaN}',
        '{"count": 1, "ratio": Infinity}',
        "nothing",
        "\ud800",
    ],
)
def test_what_is_no_json_is_told_so(text: str) -> None:
    with pytest.raises(BadRequest, match="options is not JSON"):
        parse_json(text.encode("utf-8", "surrogatepass"), Thing, within="options")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e+400", "9" * 400 + ".0", "NaN", "-Infinity"])
def test_no_infinity_gets_in(number: str) -> None:
    """Neither where a field is read nor where anything is kept as it came."""
    for text in (f'{{"count": 1, "ratio": {number}}}', f'{{"count": 1, "rest": {{"x": [{number}]}}}}'):
        with pytest.raises(BadRequest):
            parse_json(text.encode(), Thing, within="body")


@given(st.floats(allow_nan=False, allow_infinity=False), WRITABLE)
def test_what_is_written_as_json_is_read_as_it_was(ratio: float, name: str) -> None:
    read = parse_json(orjson.dumps({"count": 1, "ratio": ratio, "name": name}), Thing, within="body")
    assert (read.ratio, read.name) == (ratio, name)


def test_words_that_look_like_no_numbers_are_words() -> None:
    read = parse_json(
        orjson.dumps({"count": 1, "name": "NaN, Infinity, 1e400 " + "7" * 300}), Thing, within="body"
    )
    assert read.name.startswith("NaN, Infinity")


def request(*chunks: bytes, content_type: str = "application/json", query: bytes = b"") -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": query, "headers": headers}
    return Request(scope, receive)


async def test_a_body_is_read_in_pieces_and_in_any_spelling_of_its_type() -> None:
    for content_type in ("application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"):
        read = await read_json(request(b'{"cou', b'nt": 1}', content_type=content_type), Thing)
        assert read.count == 1
    for content_type in ("", "text/plain", "application/jsonx", "application/problem+json"):
        with pytest.raises(UnsupportedMediaType):
            await read_json(request(b'{"count": 1}', content_type=content_type), Thing)


async def test_a_body_may_be_so_long_and_no_longer() -> None:
    body = b'{"count": 1}'
    assert (await read_json(request(body), Thing, at_most=len(body))).count == 1
    unread = request(*[b" "] * 100)
    with pytest.raises(TooLarge) as refused:
        await read_json(unread, Thing, at_most=10)
    assert refused.value.members["max_bytes"] == 10
    assert (await unread.receive())["more_body"], "the rest has not been read"


async def test_a_large_body_is_read_in_a_thread_with_the_same_result() -> None:
    name = "x" * 100_000
    assert (await read_json(request(orjson.dumps({"count": 1, "name": name})), Thing)).name == name
    with pytest.raises(Invalid):
        await read_json(request(orjson.dumps({"name": name})), Thing)


async def test_a_nul_gets_in_nowhere() -> None:
    with pytest.raises(BadRequest, match="NUL"):
        await read_json(request(b'{"count": 1, "rest": {"x": "\\u0000"}}'), Thing)
    with pytest.raises(BadRequest, match="NUL"):
        parse_json(b'{"count": 1, "name": "a\\u0000b"}', Thing, within="options")
    with pytest.raises(BadRequest, match="NUL"):
        parse_json(b'{"count": 1, "rest": {"\\\\\\u0000": 1}}', Thing, within="options")
    backslash = parse_json(b'{"count": 1, "rest": {"x": "\\\\u0000"}}', Thing, within="options")
    assert backslash.rest == {"x": "\\u0000"}, "which is a backslash before a word"


def test_a_query_has_words_for_numbers_and_unknown_ones_are_named() -> None:
    assert read_query(request(query=b"count=5&name=x"), Thing).count == 5
    with pytest.raises(Invalid) as refused:
        read_query(request(query=b"count=x&colour=red"), Thing)
    assert {error["field"] for error in refused.value.members["errors"]} == {"query.count", "query.colour"}
    with pytest.raises(Invalid) as refused:
        read_query(request(query=b"count=5&name=x&count=5&zero=0"), Thing)
    assert [error["field"] for error in refused.value.members["errors"]] == ["query.count"]


@given(st.integers())
def test_whole_numbers_of_any_size_are_answered(number: int) -> None:
    response = json_response({"n": number})
    assert response.media_type == "application/json"
    assert json.loads(bytes(response.body)) == {"n": number}


def test_an_answer_has_its_status_and_headers() -> None:
    response = json_response({"at": datetime(2030, 1, 1, tzinfo=UTC)}, 201, {"Location": "/x"})
    assert (response.status_code, response.headers["location"]) == (201, "/x")
    assert orjson.loads(bytes(response.body)) == {"at": "2030-01-01T00:00:00.000000Z"}


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        parse_json(b'{"count": 1, "rest": {"a": [{"b": 1, "b": 2}]}}', Thing, within="body")
    assert [error["field"] for error in refused.value.members["errors"]] == ["body.rest.a.0.b"]

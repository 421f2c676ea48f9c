"""Questions and answers as bytes: any document there and back, and an error for every question that fails."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json
from structlog.testing import capture_logs

from libs.common import rpc
from libs.common.errors import Reject

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
VALUES = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | TEXT
DOCUMENTS = st.dictionaries(TEXT, VALUES | st.lists(VALUES, max_size=3), max_size=3)


class NoSuchTide(Reject):
    """There is no such tide."""


async def echo(tenant: str, request: rpc.Document, deps: str) -> rpc.Document:
    return {"tenant": tenant, "request": request, "deps": deps}


async def refuse(_tenant: str, _request: rpc.Document, _deps: str) -> rpc.Document:
    raise NoSuchTide


async def fail(_tenant: str, _request: rpc.Document, _deps: str) -> rpc.Document:
    raise ValueError("SECRET")


async def say_much(_tenant: str, request: rpc.Document, _deps: str) -> rpc.Document:
    return {"text": "x" * int(request["length"])}


async def asked(name: str, request: object, *, tenant: str = "dev") -> tuple[dict[str, Any], Any]:
    """The error, which is empty if there is none, and the answer."""
    answer = rpc.serve({"echo": echo, "refuse": refuse, "fail": fail, "say_much": say_much}, "deps")
    reply = await answer(f"query.tides.{name}", to_json({"tenant": tenant}) + b"\n" + to_json(request))
    error, _, document = reply.partition(b"\n")
    return from_json(error), from_json(document) if document else None


@settings(max_examples=30)
@given(DOCUMENTS, TEXT)
async def test_any_document_comes_through_as_it_is(request_: rpc.Document, tenant: str) -> None:
    error, answer = await asked("echo", request_, tenant=tenant)
    assert error == {}
    assert answer == {"tenant": tenant, "request": request_, "deps": "deps"}


async def test_what_a_handler_refuses_has_its_code() -> None:
    assert await asked("refuse", {}) == ({"code": "no_such_tide", "message": "There is no such tide."}, None)


@pytest.mark.parametrize(("name", "told"), [("fail", "ValueError"), ("unheard_of", "KeyError")])
async def test_a_bug_is_in_the_log_and_tells_the_caller_no_more_than_its_class(name: str, told: str) -> None:
    with capture_logs() as lines:
        assert await asked(name, {}) == ({"code": "bug", "message": told}, None)
    assert [(line["event"], line["procedure"]) for line in lines] == [("rpc.bug", name)]


@pytest.mark.parametrize(
    "message", [b"", b"\n", b"{}", b'{"tenant": "dev"}', b'{"tenant": "dev"}\n{', b"\xff\n{}"]
)
async def test_a_message_that_is_no_question_is_answered_too(message: bytes) -> None:
    with capture_logs():
        reply = await rpc.serve({"echo": echo}, "deps")("query.tides.echo", message)
    assert from_json(reply)["code"] == "bug"


async def test_an_answer_that_the_bus_would_not_take_is_an_error() -> None:
    frame = len(b"{}\n" + to_json({"text": ""}))
    error, answer = await asked("say_much", {"length": rpc.REPLY_BYTES_AT_MOST - frame})
    assert (error, len(answer["text"])) == ({}, rpc.REPLY_BYTES_AT_MOST - frame)
    error, answer = await asked("say_much", {"length": rpc.REPLY_BYTES_AT_MOST - frame + 1})
    assert (error["code"], answer) == ("too_large", None)

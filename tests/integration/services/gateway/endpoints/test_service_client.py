"""Questions to other services over NATS: whose they are, and what becomes of each way to fail."""

import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from libs.common import rpc
from libs.common.bus import Bus
from libs.common.errors import ArgosyError, Reject, Unavailable
from services.gateway.endpoints.service_client import call_service
from services.gateway.identity.scopes import ROLES, Principal, Role
from services.gateway.limits.policies import DEFAULTS
from services.gateway.problems import Conflict, NotFound, Problem, ServiceUnavailable, TooLarge
from tests.polling import until

_numbers = itertools.count()


class TokenInvalid(Reject):
    """That is no token of ours."""


class TemplateMissing(Reject):
    """There is no such template."""


class AnythingElse(ArgosyError):
    """The harbour is closed."""


async def answered(tenant: str, question: dict[str, Any], errors: dict[str, type[Exception]]) -> dict[str, Any]:
    """What the made-up service does: tell who asks what, fail, or answer at length."""
    if question.get("fail"):
        raise errors[question["fail"]]("secret" if question["fail"] == "bug" else "Because.")
    return {"tenant": tenant, "question": question, "more": "x" * question.get("length", 0)}


@pytest.fixture
async def service(nats_bus: Bus) -> AsyncIterator[str]:
    """The name of a service that answers."""
    name = f"service{next(_numbers)}"
    errors = {
        "not found": type("NotFound", (Reject,), {}),
        "token": TokenInvalid,
        "template": TemplateMissing,
        "else": AnythingElse,
        "away": Unavailable,
        "bug": ZeroDivisionError,
    }

    async def is_connected() -> bool:
        return nats_bus.connected

    await until(is_connected)
    async with nats_bus.serving(rpc.subject_pattern(name), rpc.serve({"ask": answered}, errors)):
        yield name


def asking(bus: Bus) -> Request:
    """A request of a caller of the tenant acme."""
    caller = Principal("key", "acme", Role.MEMBER, ROLES[Role.MEMBER], DEFAULTS)
    state = SimpleNamespace(bus=bus)
    return Request({"type": "http", "app": SimpleNamespace(state=state), "argosy.caller": caller, "headers": []})


async def test_a_question_is_asked_for_the_callers_tenant_or_for_none(nats_bus: Bus, service: str) -> None:
    question = {"number": 2**70, "text": "☂"}
    answer = await call_service(asking(nats_bus), service, "ask", question)
    assert (answer["tenant"], answer["question"]) == ("acme", question)
    assert (await call_service(asking(nats_bus), service, "ask", {}, tenant=""))["tenant"] == ""


@pytest.mark.parametrize(
    ("question", "problem", "detail"),
    [
        ({"fail": "not found"}, NotFound, "Because."),
        ({"fail": "token"}, NotFound, "Because."),
        ({"fail": "template"}, NotFound, "Because."),
        ({"fail": "else"}, Conflict, "Because."),
        ({"fail": "away"}, ServiceUnavailable, None),
        ({"fail": "bug"}, ServiceUnavailable, None),
        ({"length": rpc.REPLY_BYTES_AT_MOST}, TooLarge, "The reply is too large."),
        ({"text": "x" * rpc.REQUEST_BYTES_AT_MOST}, TooLarge, None),
    ],
    ids=["not found", "token", "template", "else", "away", "bug", "long answer", "long question"],
)
async def test_what_goes_wrong_is_a_problem(
    nats_bus: Bus, service: str, question: dict[str, Any], problem: type[Problem], detail: str | None
) -> None:
    with pytest.raises(problem) as refused:
        await call_service(asking(nats_bus), service, "ask", question)
    assert type(refused.value) is problem
    assert "secret" not in str(refused.value), "what a bug says is not told"
    if detail is not None:
        assert str(refused.value) == detail


async def test_a_service_that_is_not_there_is_away(nats_bus: Bus) -> None:
    with pytest.raises((ServiceUnavailable, Unavailable)):
        await call_service(asking(nats_bus), "nobody", "ask", {})

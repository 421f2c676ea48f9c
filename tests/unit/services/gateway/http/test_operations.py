"""What an operation says of itself, and what those of the API say together."""

import pytest
from pydantic import BaseModel

from services.gateway.http.operations import Answer, Operation
from services.gateway.identity.scopes import Scope
from services.gateway.limits.policies import DEFAULTS, Per
from services.gateway.routes import OPERATIONS


class Body(BaseModel):
    """Something."""


async def nothing(_request: object) -> object:
    """Nothing."""
    return None


def operation(**more: object) -> Operation:
    return Operation(method="POST", path="/x", endpoint=nothing, scope=Scope.JOBS_READ, **more)  # type: ignore[arg-type]


def test_what_means_something_is_read() -> None:
    assert not operation().reads
    assert not operation(query=Body).reads, "a query is no body"
    assert operation(body=Body).reads
    assert operation(multipart=Body).reads


def test_an_operation_says_who_may_call_it() -> None:
    with pytest.raises(TypeError, match="scope"):
        Operation(method="GET", path="/x", endpoint=nothing)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.endpoint.__name__)
def test_an_operation_of_the_api_is_described_and_bounded(one: Operation) -> None:
    assert (one.endpoint.__doc__ or "").strip()
    assert one.answers
    assert all(200 <= status < 400 for status in one.answers)
    assert set(one.limits) <= set(DEFAULTS)
    assert one.deadline_s is None or one.deadline_s > 0
    assert one.method != "GET" or not one.reads
    assert all(answer.document is not None for answer in one.answers.values() if answer == Answer())


def test_an_answer_that_streams_has_another_bound() -> None:
    """Without a deadline a request is not counted while it is served, so something else must bound it."""
    endless = {one.endpoint.__name__ for one in OPERATIONS if one.deadline_s is None}
    assert endless == {"download", "download_by_link", "follow_job"}
    following = next(one for one in OPERATIONS if one.endpoint.__name__ == "follow_job")
    assert "streams" in following.limits


def test_a_caller_is_charged_to_policies_that_know_callers() -> None:
    """A policy by account needs the account, which only signing in names."""
    charged = {name for one in OPERATIONS for name in one.limits if one.scope is not None}
    assert {DEFAULTS[name].per for name in charged} == {Per.USER}


def test_a_key_that_everybody_may_have_is_charged_to_the_address_and_the_tenant() -> None:
    charged = {name for one in OPERATIONS for name in one.public_limits}
    assert charged == {"events-ip", "events-tenant"}
    assert {DEFAULTS[name].per for name in charged} == {Per.IP, Per.TENANT}

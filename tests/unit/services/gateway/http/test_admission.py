"""What a request is charged with, and what it is told of that, when several decisions were made about it."""

import asyncio
import time

import pytest
from starlette.types import Message, Scope

from libs.common import background
from services.gateway.http import admission
from services.gateway.http import timeouts as timeouts_module
from services.gateway.http.admission import (
    Admission,
    _admit,
    _receive_in_time,
    _receive_well_formed,
    charges,
)
from services.gateway.http.timeouts import Timeouts
from services.gateway.identity.scopes import Principal, Role
from services.gateway.identity.scopes import Scope as Permission
from services.gateway.limits.decisions import Decision, LimitStatus
from services.gateway.limits.policies import DEFAULTS, adjusted
from services.gateway.problems import BadRequest, LimitExceeded, RequestTimeout
from services.gateway.routes import OPERATIONS


def test_each_policy_charges_whom_it_counts() -> None:
    names = ("global", "ip", "burst", "api", "auth")
    charged = charges(DEFAULTS, names, address="192.0.2.1", user="key", account="ann")
    assert [(charge.policy.name, charge.key.rpartition(":")[2]) for charge in charged] == [
        ("global", "-"), ("ip", "192.0.2.1"), ("burst", "key"), ("api", "key"), ("auth", "ann"),
    ]  # fmt: skip


def test_what_charges_a_key_charges_its_tenant_too() -> None:
    charged = charges(DEFAULTS, ("global", "ip", "burst", "api"), address="192.0.2.1", user="key", tenant="acme")
    assert [(charge.policy.name, charge.key.rpartition(":")[2]) for charge in charged] == [
        ("global", "-"), ("ip", "192.0.2.1"), ("burst", "key"), ("tenant-burst", "acme"), ("api", "key"),
        ("tenant-api", "acme"),
    ]  # fmt: skip


def caller(*scopes: Permission) -> Principal:
    return Principal("key", "acme", Role.MEMBER, frozenset(scopes), DEFAULTS)


def test_a_public_key_is_charged_to_the_address_and_the_tenant_only() -> None:
    (operation,) = (one for one in OPERATIONS if one.public_limits)
    admission = Admission(operation)

    def charged(principal: Principal) -> list[str]:
        limits = admission._limits_of(principal, {"headers": []})
        found = admission._charges(DEFAULTS, "192.0.2.1", principal.tenant, principal.user, limits)
        return [charge.policy.name for charge in found]

    assert charged(caller(Permission.EVENTS_WRITE)) == ["global", "ip", "events-ip", "events-tenant"]
    assert charged(caller(Permission.EVENTS_WRITE, Permission.OCR_WRITE)) == [
        "global", "ip", "burst", "tenant-burst", "events", "tenant-events",
    ]  # fmt: skip


def test_a_policy_that_is_off_charges_nobody() -> None:
    policies = adjusted(DEFAULTS, {"ip": "off", "api": "off"})
    assert [charge.policy.name for charge in charges(policies, ("ip", "burst", "api"), user="key")] == ["burst"]


def decision(name: str, remaining: int, *, admitted: bool = True) -> Decision:
    status = LimitStatus(DEFAULTS[name], remaining, 9)
    return Decision(admitted, (status,), () if admitted else (name,), fields=DEFAULTS[name].quota)


def test_two_decisions_about_a_request_are_both_told() -> None:
    scope: Scope = {}
    _admit(scope, decision("api", 5))
    _admit(scope, decision("ocr", 3))
    fields = dict(scope["argosy.headers"])
    assert fields[b"ratelimit-policy"] == b'"api";q=60;w=60, "ocr";q=50;w=3600'
    assert fields[b"ratelimit"] == b'"api";r=5;t=9, "ocr";r=3;t=9'


def test_a_refusal_names_what_refused_and_its_headers_are_kept_for_the_answer() -> None:
    scope: Scope = {}
    with pytest.raises(LimitExceeded, match="api: at most 60 in 60 seconds") as refused:
        _admit(scope, decision("api", 0, admitted=False))
    assert refused.value.members == {"violated-policies": ["api"]}
    assert dict(scope["argosy.headers"])[b"retry-after"] == b"9"
    with pytest.raises(LimitExceeded, match="uploads: at most 8 at the same time"):
        _admit({}, decision("uploads", 0, admitted=False))


async def test_a_body_must_come_at_some_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace, each byte that came buys time for the next."""
    monkeypatch.setattr(timeouts_module, "CHECK_EVERY_S", 0.005)
    monkeypatch.setattr(admission, "BODY_GRACE_S", 0.0)
    messages: list[Message] = [{"type": "http.request", "body": bytes(1024 * 3600), "more_body": True}]
    timeouts = Timeouts()

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async with background.alongside(background.optional(timeouts.watch())):
        receive_in_time = _receive_in_time(receive, timeouts)
        assert len((await receive_in_time())["body"]) == 1024 * 3600
        waiting = asyncio.ensure_future(receive_in_time())
        await asyncio.sleep(0)
        (within,) = timeouts._running
        assert 3500 < within.due - time.monotonic() <= 3600, "an hour, for what came"
        waiting.cancel()
        with pytest.raises(RequestTimeout):
            await _receive_in_time(receive, timeouts)()


async def test_after_its_end_a_body_has_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream waits for the caller to go away by receiving, and that may take hours."""
    monkeypatch.setattr(timeouts_module, "CHECK_EVERY_S", 0.005)
    monkeypatch.setattr(admission, "BODY_GRACE_S", 0.0)
    timeouts, gone = Timeouts(), asyncio.Event()
    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"", "more_body": False},
    ]

    async def receive() -> Message:
        if len(messages) == 1:
            await gone.wait()
        return messages.pop()

    receive_in_time = _receive_in_time(receive, timeouts)
    await receive_in_time()
    waiting = asyncio.ensure_future(receive_in_time())
    await asyncio.sleep(0)
    assert not timeouts._running
    gone.set()
    assert (await waiting)["type"] == "http.disconnect"


async def test_a_body_that_could_not_be_read_is_the_problem_it_has() -> None:
    scope: dict[str, object] = {}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    receive_well_formed = _receive_well_formed(scope, receive)
    assert (await receive_well_formed())["body"] == b"x"
    scope["argosy.refusal"] = BadRequest()
    with pytest.raises(BadRequest):
        await receive_well_formed()

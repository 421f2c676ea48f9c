"""What every request passes before its endpoint: is there room, who calls, may they, within which limits, in time.

An operation without a scope does not come through here by accident: whoever adds one says who may call it.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import request_response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from services.gateway.limits.decisions import Decision
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from services.gateway.operations import Operation
from services.gateway.problems import (
    DeadlineExceeded,
    Forbidden,
    LimitExceeded,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
)
from services.gateway.scopes import Principal

EVERYBODY = ("global", "ip")
EVERY_USER = ("burst",)
"""The policies that every request is charged to, and every request of a known caller."""
BODY_GRACE_S = 20.0
BODY_BYTES_PER_S = 1024
"""A body must come at this rate, after some grace; so must an answer be taken, a message at a time."""
TAKEN_WITHIN_S = 60.0


def caller(request: Request) -> Principal:
    """Who sent this request, which has passed the door."""
    principal: Principal = request.scope["argosy.caller"]
    return principal


class Door:
    """An operation as an ASGI application."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.__name__ = operation.endpoint.__name__  # what the access log and the metrics call it
        self._app = request_response(operation.endpoint)
        self._limits = (*EVERYBODY, *EVERY_USER, *operation.limits) if operation.scope else EVERYBODY

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let a request in, or raise the Problem that says why not."""
        state = scope["app"].state
        with state.shedder.carrying(self.operation.urgency):
            place = state.addresses.of(scope)
            policies, user = state.policies, ""
            if self.operation.scope is not None:
                principal = await self._identified(scope, place)
                policies, user = principal.policies, principal.user
            decision = await state.limiter.take(charges(policies, self._limits, place=place, user=user))
            _admit(scope, decision)
            try:
                await self._serve(scope, receive, send)
            finally:
                if decision.places:
                    state.limiter.give_back(decision)

    async def _identified(self, scope: Connection, place: str) -> Principal:
        """The caller, who may do this. Raises Unauthenticated, Forbidden, LimitExceeded, Unavailable."""
        state = scope["app"].state
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            principal: Principal = await state.callers.principal(authorization.decode("latin-1"))
        except Unauthenticated:
            _admit(scope, await state.limiter.take(charges(state.policies, EVERYBODY, place=place)))
            raise
        scope["argosy.caller"] = principal
        if self.operation.scope not in principal.scopes:
            _admit(scope, await state.limiter.take(charges(principal.policies, EVERYBODY, place=place)))
            raise Forbidden(f"This needs the scope {self.operation.scope}, which the caller does not have.")
        return principal

    async def _serve(self, scope: Connection, receive: Receive, send: Send) -> None:
        if self.operation.reads:
            if any(name == b"content-encoding" and value != b"identity" for name, value in scope["headers"]):
                raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
            receive = _in_time(receive)
        if self.operation.deadline_s is None:
            await self._app(scope, receive, _taken_in_time(send))
            return
        try:
            async with asyncio.timeout(self.operation.deadline_s) as deadline:
                await self._app(scope, receive, send)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineExceeded from None


def charges(policies: Mapping[str, Policy], names: Sequence[str], **subjects: str) -> Charges:
    """What a request is charged with. `subjects`: its `place`, its `user`, the `account` it names."""
    found = {Per.ALL: "-", Per.IP: subjects.get("place"), Per.USER: subjects.get("user")}
    found[Per.ACCOUNT] = subjects.get("account")
    return tuple([Charge.of(policies[name], str(found[policies[name].per])) for name in names])


async def charge_account(request: Request, email: str) -> None:
    """Charge an attempt to sign in to the account and to the address. Raises LimitExceeded."""
    state = request.app.state
    account = hashlib.sha256(email.encode()).hexdigest()[:32]
    place = state.addresses.of(request.scope)
    charged = charges(state.policies, ("auth", "auth-ip"), account=account, place=place)
    _admit(request.scope, await state.limiter.take(charged))


async def charge_user(request: Request, *names: str) -> None:
    """Charge the caller to policies that depend on what the request asks for. Raises LimitExceeded."""
    principal = caller(request)
    _admit(
        request.scope,
        await request.app.state.limiter.take(charges(principal.policies, names, user=principal.user)),
    )


def _admit(scope: Connection, decision: Decision) -> None:
    """Note the header fields for the answer, whatever it will be. Raises LimitExceeded."""
    known = scope.setdefault("argosy.headers", {})
    for name, value in decision.headers.items():
        together = name in known and name.startswith("RateLimit")
        known[name] = f"{known[name]}, {value}" if together else value
    if not decision.admitted:
        violated = [s.policy for s in decision.standings if s.policy.name in decision.violated]
        detail = " ".join([_explained(policy) for policy in violated])
        members: dict[str, Any] = {"violated-policies": list(decision.violated)}
        raise LimitExceeded(detail, **members)


def _explained(policy: Policy) -> str:
    if policy.at_once:
        return f"{policy.name}: at most {policy.limit} at the same time."
    return f"{policy.name}: at most {policy.limit} in {policy.window_s} seconds."


def _in_time(receive: Receive) -> Receive:
    """`receive` for a body that must not dawdle. Raises RequestTimeout."""
    begun, received, more = time.monotonic(), 0, True

    async def receive_in_time() -> Message:
        nonlocal received, more
        if not more:
            return await receive()
        left_s = begun + BODY_GRACE_S + received / BODY_BYTES_PER_S - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout from None
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
        return message

    return receive_in_time


def _taken_in_time(send: Send) -> Send:
    """`send` for a caller who must not fall asleep over the answer."""

    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(TAKEN_WITHIN_S):
            await send(message)

    return send_in_time

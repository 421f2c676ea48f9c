"""What every request passes before its endpoint: is there room, who calls, may they, within which limits, in time.

An operation without a scope does not come through here by accident: whoever adds one says who may call it.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from libs.common.errors import Unavailable
from services.gateway.http.operations import Operation
from services.gateway.http.state import state_of
from services.gateway.http.timeouts import Timeouts
from services.gateway.identity.scopes import Principal
from services.gateway.limits.decisions import Decision
from services.gateway.limits.policies import Charge, Charges, Per, Policy
from services.gateway.problems import (
    Forbidden,
    LimitExceeded,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
)

EVERYBODY = ("global", "ip")
EVERY_USER = ("burst",)
"""The policies that every request is charged to, and every request of a known caller."""
BODY_GRACE_S = 20.0
BODY_BYTES_PER_S = 1024
"""A body must come at this rate, after some grace; so must an answer be taken, a message at a time."""
TAKEN_WITHIN_S = 60.0
CALLERS_AT_MOST = 5_000
"""Whose charges are kept ready, for each operation."""


K = TypeVar("K")
V = TypeVar("V")


def caller(request: Request) -> Principal:
    """Who sent this request, which has been admitted."""
    principal: Principal = request.scope["argosy.caller"]
    return principal


class Admission:
    """An operation as an ASGI application."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.__name__ = operation.endpoint.__name__  # what the access log and the metrics call it
        self._known: dict[tuple[str, str], tuple[Mapping[str, Policy], Charges]] = {}
        self._ready: dict[str, Charges] = {}
        self._limits = (*EVERYBODY, *EVERY_USER, *operation.limits) if operation.scope else EVERYBODY

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let a request in, or raise the Problem that says why not."""
        state = state_of(scope)
        state.load_shedder.admit(self.operation.urgency)
        if self.operation.deadline_s is None:  # a stream may take hours; there are other bounds for those
            state.load_shedder.release()
            await self._pass(scope, receive, send)
            return
        try:
            await self._pass(scope, receive, send)
        finally:
            state.load_shedder.release()

    async def _pass(self, scope: Connection, receive: Receive, send: Send) -> None:
        state = state_of(scope)
        place = state.client_addresses.of(scope)
        policies, user = state.policies, ""
        if self.operation.scope is not None:
            principal = await self._identified(scope, place)
            policies, user = principal.policies, principal.user
        decision = await state.limiter.take(self._charges(policies, place, user))
        try:
            _admit(scope, decision)
            await self._serve(scope, receive, send)
        finally:
            if decision.slots:
                state.limiter.give_back(decision)

    def _charges(self, policies: Mapping[str, Policy], place: str, user: str) -> Charges:
        """What this request is charged with; the same object for the same caller, as long as its policies hold."""
        name = (user, place)
        known = self._known.get(name)
        if known is None or known[0] is not policies:
            charged = charges(policies, self._limits, place=place, user=user)
            known = self._keep(self._known, name, (policies, charged))
        return known[1]

    def _keep(self, ready: dict[K, V], name: K, value: V) -> V:
        if len(ready) >= CALLERS_AT_MOST:
            ready.clear()
        ready[name] = value
        return value

    async def _identified(self, scope: Connection, place: str) -> Principal:
        """The caller, who may do this. Raises Unauthenticated, Forbidden, LimitExceeded, Unavailable."""
        state = state_of(scope)
        everybody = self._ready.get(place)
        if everybody is None:
            everybody = self._keep(self._ready, place, charges(state.policies, EVERYBODY, place=place))
        if refusal := state.limiter.refusal(everybody):  # before anything is looked up
            _admit(scope, refusal)
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            principal: Principal = await state.authenticator.principal(authorization.decode("latin-1"))
        except (Unauthenticated, Unavailable):
            _admit(scope, await state.limiter.take(everybody))
            raise
        scope["argosy.caller"] = principal
        if self.operation.scope not in principal.scopes:
            _admit(scope, await state.limiter.take(everybody))
            raise Forbidden(f"This needs the scope {self.operation.scope}, which the caller does not have.")
        return principal

    async def _serve(self, scope: Connection, receive: Receive, send: Send) -> None:
        timeouts = state_of(scope).timeouts
        if self.operation.reads:
            if any(name == b"content-encoding" and value != b"identity" for name, value in scope["headers"]):
                raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
            receive = _in_time(receive, timeouts)
        if self.operation.deadline_s is None:
            await self._answer(scope, receive, _taken_in_time(send, timeouts))
            return
        with timeouts.within(self.operation.deadline_s):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Connection, receive: Receive, send: Send) -> None:
        response = await self.operation.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def charges(
    policies: Mapping[str, Policy], names: Sequence[str], *, place: str = "", user: str = "", account: str = ""
) -> Charges:
    """What a request is charged with: its address, the key or token that sent it, the account it names."""
    subjects = {Per.ALL: "-", Per.IP: place, Per.USER: user, Per.ACCOUNT: account}
    return Charges(
        [Charge.of(policies[name], subjects[policies[name].per]) for name in names if policies[name].limit]
    )


async def charge_account(request: Request, email: str) -> None:
    """Charge an attempt to sign in to the account and to the address. Raises LimitExceeded."""
    state = state_of(request)
    account = hashlib.sha256(email.encode()).hexdigest()[:32]
    place = state.client_addresses.of(request.scope)
    charged = charges(state.policies, ("auth", "auth-ip"), account=account, place=place)
    _admit(request.scope, await state.limiter.take(charged))


async def charge_user(request: Request, *names: str) -> None:
    """Charge the caller to policies that depend on what the request asks for. Raises LimitExceeded."""
    principal = caller(request)
    _admit(
        request.scope,
        await state_of(request).limiter.take(charges(principal.policies, names, user=principal.user)),
    )


def _admit(scope: Connection, decision: Decision) -> None:
    """Note the header fields for the answer, whatever it will be. Raises LimitExceeded."""
    known = scope.get("argosy.headers")
    scope["argosy.headers"] = decision.raw_headers if known is None else _merged(known, decision.raw_headers)
    if not decision.admitted:
        violated = [s.policy for s in decision.statuses if s.policy.name in decision.violated]
        detail = " ".join([_explained(policy) for policy in violated])
        members: dict[str, Any] = {"violated-policies": list(decision.violated)}
        raise LimitExceeded(detail, **members)


def _merged(known: list[tuple[bytes, bytes]], more: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields of two decisions about one request: lists grow, and the later time to come back counts."""
    fields = dict(known)
    for name, value in more:
        together = name in fields and name.startswith(b"ratelimit")
        fields[name] = fields[name] + b", " + value if together else value
    return list(fields.items())


def _explained(policy: Policy) -> str:
    if policy.at_once:
        return f"{policy.name}: at most {policy.limit} at the same time."
    return f"{policy.name}: at most {policy.limit} in {policy.window_s} seconds."


def _in_time(receive: Receive, timeouts: Timeouts) -> Receive:
    """`receive` for a body that must not dawdle. Raises RequestTimeout."""
    begun, received, more = time.monotonic(), 0, True

    async def receive_in_time() -> Message:
        nonlocal received, more
        if not more:
            return await receive()
        left_s = begun + BODY_GRACE_S + received / BODY_BYTES_PER_S - time.monotonic()
        with timeouts.within(left_s, RequestTimeout):
            message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
        return message

    return receive_in_time


def _taken_in_time(send: Send, timeouts: Timeouts) -> Send:
    """`send` for a caller who must not fall asleep over the answer."""

    async def send_in_time(message: Message) -> None:
        with timeouts.within(TAKEN_WITHIN_S):
            await send(message)

    return send_in_time

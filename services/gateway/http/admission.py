"""Admission of a request before its endpoint: load shedding, authentication, authorization, rate limits, timeouts.

`Operation.scope` has no default, so that no operation is open to everybody by accident.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from services.gateway.limits.policies import Charge, Charges, Per, Policy, tenant_policy
from services.gateway.problems import (
    Forbidden,
    LimitExceeded,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
)

EVERY_REQUEST = ("global", "ip")
EVERY_CALLER = ("burst",)
"""The policies that charge every request, and every request of an authenticated caller."""
BODY_GRACE_S = 20.0
BODY_BYTES_PER_S = 1024
"""A request body must arrive at this rate, after BODY_GRACE_S."""
CACHED_AT_MOST = 5_000
"""The number of callers whose charges are cached, for each operation."""


K = TypeVar("K")
V = TypeVar("V")


def caller(request: Request) -> Principal:
    """The authenticated caller of an admitted request."""
    principal: Principal = request.scope["argosy.caller"]
    return principal


class Admission:
    """An ASGI application that admits requests to one operation."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.__name__ = operation.endpoint.__name__  # its name in the metrics
        self._charges_by_caller: dict[
            tuple[str, str, str, tuple[str, ...]], tuple[Mapping[str, Policy], Charges]
        ] = {}
        self._charges_by_address: dict[str, Charges] = {}
        self._limits = operation.limits
        if operation.scope is not None:
            self._limits = (*EVERY_REQUEST, *EVERY_CALLER, *operation.limits)
        self._reconnect_limits = (*EVERY_REQUEST, *operation.reconnect_limits)
        self._public_limits = (*EVERY_REQUEST, *operation.public_limits)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Serve an admitted request. Raises the Problem that refuses it."""
        state = state_of(scope)
        if self.operation.urgency is None:
            await self._pass(scope, receive, send)
            return
        state.load_shedder.admit(self.operation.urgency)
        if self.operation.deadline_s is None:  # a stream may take hours; other limits bound those
            state.load_shedder.release()
            await self._pass(scope, receive, send)
            return
        try:
            await self._pass(scope, receive, send)
        finally:
            state.load_shedder.release()

    async def _pass(self, scope: Connection, receive: Receive, send: Send) -> None:
        state = state_of(scope)
        address = state.client_addresses.of(scope)
        policies, tenant, user, limits = state.policies, "", "", self._limits
        if self.operation.scope is not None:
            principal = await self._authenticated(scope, address)
            policies, tenant, user = principal.policies, principal.tenant, principal.user
            limits = self._limits_of(principal, scope)
        charged = self._charges(policies, address, tenant, user, limits)
        decision = await state.limiter.take(charged)
        try:
            _admit(scope, decision)
            await self._serve(scope, receive, send)
        finally:
            if decision.slots:
                state.limiter.give_back(decision)

    def _limits_of(self, principal: Principal, scope: Connection) -> tuple[str, ...]:
        """The policies that charge the request of an authenticated caller."""
        if principal.is_public:
            return self._public_limits
        return self._reconnect_limits if self._is_reconnect(scope) else self._limits

    def _is_reconnect(self, scope: Connection) -> bool:
        """Whether the request goes on with an earlier stream, which has been charged."""
        return bool(self.operation.reconnect_limits) and any(
            name == b"last-event-id" for name, _ in scope["headers"]
        )

    def _charges(
        self, policies: Mapping[str, Policy], address: str, tenant: str, user: str, limits: tuple[str, ...]
    ) -> Charges:
        """What this request is charged with; the same object for the same caller until its policies change."""
        name = (user, tenant, address, limits)
        known = self._charges_by_caller.get(name)
        if known is None or known[0] is not policies:
            charged = charges(policies, limits, address=address, tenant=tenant, user=user)
            known = self._store(self._charges_by_caller, name, (policies, charged))
        return known[1]

    def _store(self, cache: dict[K, V], name: K, value: V) -> V:
        if len(cache) >= CACHED_AT_MOST:
            cache.clear()
        cache[name] = value
        return value

    async def _authenticated(self, scope: Connection, address: str) -> Principal:
        """The caller, who has the scope. Raises Unauthenticated, Forbidden, LimitExceeded, Unavailable."""
        state = state_of(scope)
        anonymous = self._charges_by_address.get(address)
        if anonymous is None:
            anonymous = self._store(
                self._charges_by_address, address, charges(state.policies, EVERY_REQUEST, address=address)
            )
        if refusal := state.limiter.refusal(anonymous):  # before any lookup in the database
            _admit(scope, refusal)
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            principal: Principal = await state.authenticator.principal(authorization.decode("latin-1"))
        except (Unauthenticated, Unavailable):
            _admit(scope, await state.limiter.take(anonymous))
            raise
        scope["argosy.caller"] = principal
        if self.operation.scope not in principal.scopes:
            _admit(scope, await state.limiter.take(anonymous))
            raise Forbidden(f"This needs the scope {self.operation.scope}, which the caller does not have.")
        return principal

    async def _serve(self, scope: Connection, receive: Receive, send: Send) -> None:
        timeouts = state_of(scope).timeouts
        if self.operation.reads:
            if any(name == b"content-encoding" and value != b"identity" for name, value in scope["headers"]):
                raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
            receive = _receive_in_time(_receive_well_formed(scope, receive), timeouts)
        if self.operation.deadline_s is None:
            await self._respond(scope, receive, send)
            return
        with timeouts.within(self.operation.deadline_s):
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Connection, receive: Receive, send: Send) -> None:
        response = await self.operation.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def charges(
    policies: Mapping[str, Policy],
    names: Sequence[str],
    *,
    address: str = "",
    tenant: str = "",
    user: str = "",
    account: str = "",
) -> Charges:
    """The charges of a request: to its address, to the key or token that sent it, to the account it names.

    What charges a key charges its `tenant` too.
    """
    subjects = {Per.ALL: "-", Per.IP: address, Per.TENANT: tenant, Per.USER: user, Per.ACCOUNT: account}
    pairs = [(policies[name], tenant_policy(policies, name) if tenant else None) for name in names]
    return Charges(
        [Charge.of(policy, subjects[policy.per]) for pair in pairs for policy in pair if policy and policy.limit]
    )


async def charge_stranger(scope: Connection) -> None:
    """Charge a request that leads to no operation to the client's address. Raises LimitExceeded."""
    state = state_of(scope)
    address = state.client_addresses.of(scope)
    _admit(scope, await state.limiter.take(charges(state.policies, EVERY_REQUEST, address=address)))


async def charge_account(request: Request, email: str) -> None:
    """Charge a sign-in attempt to the account and to the client's address. Raises LimitExceeded."""
    state = state_of(request)
    account = hashlib.sha256(email.encode()).hexdigest()[:32]
    address = state.client_addresses.of(request.scope)
    charged = charges(state.policies, ("auth", "auth-ip"), account=account, address=address)
    _admit(request.scope, await state.limiter.take(charged))


async def charge_user(request: Request, *names: str) -> None:
    """Charge the caller under policies that depend on the request's content. Raises LimitExceeded."""
    principal = caller(request)
    charged = charges(principal.policies, names, tenant=principal.tenant, user=principal.user)
    _admit(request.scope, await state_of(request).limiter.take(charged))


@asynccontextmanager
async def charged_while(request: Request, name: str) -> AsyncIterator[None]:
    """Hold one of the caller's slots of an `at once` policy while the block runs. Raises LimitExceeded."""
    principal, limiter = caller(request), state_of(request).limiter
    decision = await limiter.take(charges(principal.policies, (name,), user=principal.user))
    try:
        _admit(request.scope, decision)
        yield
    finally:
        limiter.give_back(decision)


def _admit(scope: Connection, decision: Decision) -> None:
    """Add the rate-limit header fields to the response, whatever it will be. Raises LimitExceeded."""
    known = scope.get("argosy.headers")
    scope["argosy.headers"] = decision.raw_headers if known is None else _merged(known, decision.raw_headers)
    if not decision.admitted:
        detail = " ".join([_explained(policy) for policy in decision.told])
        members: dict[str, Any] = {"violated-policies": [policy.name for policy in decision.told]}
        raise LimitExceeded(detail, **members)


def _merged(known: list[tuple[bytes, bytes]], more: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields of two decisions about one request: RateLimit lists are joined, the later Retry-After wins."""
    fields = dict(known)
    for name, value in more:
        together = name in fields and name.startswith(b"ratelimit")
        fields[name] = fields[name] + b", " + value if together else value
    return list(fields.items())


def _explained(policy: Policy) -> str:
    whose = ", for all keys of the tenant together" if policy.per is Per.TENANT else ""
    if policy.at_once:
        return f"{policy.name}: at most {policy.limit} at the same time{whose}."
    return f"{policy.name}: at most {policy.limit} in {policy.window_s} seconds{whose}."


def _receive_in_time(receive: Receive, timeouts: Timeouts) -> Receive:
    """`receive` with a timeout for the body. Raises RequestTimeout."""
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


def _receive_well_formed(scope: Connection, receive: Receive) -> Receive:
    """`receive` that raises the problem with a body that could not be read to its end (protocol.py)."""

    async def receive_well_formed() -> Message:
        message = await receive()
        if refusal := scope.get("argosy.refusal"):
            raise refusal
        return message

    return receive_well_formed

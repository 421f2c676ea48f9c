"""The decision about a request, and its rate-limit header fields.

RateLimit-Policy and RateLimit are structured fields (draft-ietf-httpapi-ratelimit-headers-10): `q` is the quota,
`w` its window, `r` what remains, `t` the time until more is available. Times are whole seconds.

The limit of a whole tenant is shown when less remains of it than of the key's own, or nothing, because then it
decides. Otherwise every response would show each limit twice.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from services.gateway.limits.policies import Charges, Per, Policy

SLOT_RETRY_S = 1
"""Retry-After for a concurrency limit, because nobody knows when a slot becomes free."""


class LimitStatus(NamedTuple):
    """What remains for a subject under one policy; in `free_s` seconds one more request is allowed."""

    policy: Policy
    remaining: int
    free_s: int


class HeldSlot(NamedTuple):
    """A slot of a concurrency limit, to be released when the request ends."""

    key: str
    member: str


@dataclass(frozen=True)
class Decision:
    """Whether a request is admitted, the policies that refused it, and what remains under each policy.

    `fields` is the value of RateLimit-Policy for what is always shown. Requests that were decided together share
    one Decision and its cached headers.
    """

    admitted: bool
    statuses: tuple[LimitStatus, ...] = ()
    violated: tuple[str, ...] = ()
    slots: tuple[HeldSlot, ...] = ()
    fields: str = ""

    @property
    def retry_after_s(self) -> int:
        """Seconds until every policy that refused has room again."""
        waits = [s.free_s for s in self.statuses if s.policy.name in self.violated]
        return max(waits, default=SLOT_RETRY_S)

    @cached_property
    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit; also Retry-After if the request was refused."""
        headers = {} if self.admitted else {"Retry-After": str(self.retry_after_s)}
        always = [s for s in self.statuses if s.policy.is_always_shown]
        of_tenant = [s for s in self.statuses if s.policy.per is Per.TENANT and _decides(s, always)]
        if always or of_tenant:
            quotas = [self.fields] if self.fields else []
            headers["RateLimit-Policy"] = ", ".join([*quotas, *[s.policy.quota for s in of_tenant]])
            headers["RateLimit"] = ", ".join([_remaining(s) for s in (*always, *of_tenant)])
        return headers

    @property
    def told(self) -> list[Policy]:
        """The policies that refused, but a tenant's only if that of its key did not."""
        policies = [s.policy for s in self.statuses if s.policy.name in self.violated]
        return [p for p in policies if p.per is not Per.TENANT or p.key_policy not in self.violated]

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The same headers, encoded for ASGI."""
        return [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]


def refused(charges: Charges, violated: list[tuple[int, int]]) -> Decision:
    """A refusal. `violated` lists pairs: the position of a charge, and the seconds until it has room."""
    statuses = tuple(LimitStatus(charges.each[position].policy, 0, free_s) for position, free_s in violated)
    fields = ", ".join([s.policy.quota for s in statuses if s.policy.is_always_shown])
    return Decision(False, statuses, tuple(s.policy.name for s in statuses), fields=fields)


def _decides(of_tenant: LimitStatus, others: list[LimitStatus]) -> bool:
    """Whether less remains of the limit of a tenant than of that of its key, which is among `others`."""
    if of_tenant.policy.shadow:
        return False
    of_key = [s.remaining for s in others if s.policy.name == of_tenant.policy.key_policy]
    return of_tenant.remaining <= 0 or of_tenant.remaining < min(of_key, default=of_tenant.remaining + 1)


def _remaining(status: LimitStatus) -> str:
    if status.policy.at_once:
        return f'"{status.policy.name}";r={max(0, status.remaining)}'
    return f'"{status.policy.name}";r={max(0, status.remaining)};t={status.free_s}'

"""What was decided about a request, and the header fields that say so.

RateLimit-Policy and RateLimit are structured fields (draft-ietf-httpapi-ratelimit-headers-10): `q` a quota, `w`
its window, `r` what remains of it, `t` in how many seconds there will be more. All in whole seconds.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from services.gateway.limits.policies import Charges, Policy

PLACE_RETRY_S = 1
"""When to try again where too much runs at once: nobody knows when a place becomes free."""


class LimitStatus(NamedTuple):
    """How a subject stands with one policy: `free_s` seconds until there is one more place."""

    policy: Policy
    remaining: int
    free_s: int


class HeldSlot(NamedTuple):
    """A place of a policy that bounds what runs at once, to be given back."""

    key: str
    member: str


@dataclass(frozen=True)
class Decision:
    """Admitted or not, by which policies not, and how the subjects stand with each. `fields`: RateLimit-Policy.

    Requests that were decided together share one, and what is made of it.
    """

    admitted: bool
    statuses: tuple[LimitStatus, ...] = ()
    violated: tuple[str, ...] = ()
    places: tuple[HeldSlot, ...] = ()
    fields: str = ""

    @property
    def retry_after_s(self) -> int:
        """When all that refused has a place again."""
        waits = [s.free_s for s in self.statuses if s.policy.name in self.violated]
        return max(waits, default=PLACE_RETRY_S)

    @cached_property
    def headers(self) -> dict[str, str]:
        """RateLimit-Policy, RateLimit, and Retry-After where it was refused."""
        headers = {} if self.admitted else {"Retry-After": str(self.retry_after_s)}
        if self.fields:
            headers["RateLimit-Policy"] = self.fields
            headers["RateLimit"] = ", ".join([_remaining(s) for s in self.statuses if s.policy.is_shown])
        return headers

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The same, as ASGI wants them."""
        return [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]


def refused(charges: Charges, violated: list[tuple[int, int]]) -> Decision:
    """A refusal by the charges at the positions in `violated`, each with the seconds until it has a place."""
    statuses = tuple(LimitStatus(charges.each[position].policy, 0, free_s) for position, free_s in violated)
    fields = ", ".join([s.policy.quota for s in statuses if s.policy.is_shown])
    return Decision(False, statuses, tuple(s.policy.name for s in statuses), fields=fields)


def _remaining(status: LimitStatus) -> str:
    if status.policy.at_once:
        return f'"{status.policy.name}";r={max(0, status.remaining)}'
    return f'"{status.policy.name}";r={max(0, status.remaining)};t={status.free_s}'

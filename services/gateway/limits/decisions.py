"""What was decided about a request, and the header fields that say so.

RateLimit-Policy and RateLimit are structured fields (draft-ietf-httpapi-ratelimit-headers-10): `q` a quota, `w`
its window, `r` what remains of it, `t` in how many seconds there will be more. All in whole seconds.
"""

from dataclasses import dataclass
from typing import NamedTuple

from services.gateway.limits.policies import Charges, Per, Policy

PLACE_RETRY_S = 1
"""When to try again where too much runs at once: nobody knows when a place becomes free."""


class Standing(NamedTuple):
    """How a subject stands with one policy: `free_s` seconds until there is one more place."""

    policy: Policy
    remaining: int
    free_s: int


class Place(NamedTuple):
    """A place of a policy that bounds what runs at once, to be given back."""

    key: str
    member: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Admitted or not, by which policies not, and how the subjects stand with each."""

    admitted: bool
    standings: tuple[Standing, ...] = ()
    violated: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def retry_after_s(self) -> int:
        """When all that refused has a place again."""
        waits = [s.free_s for s in self.standings if s.policy.name in self.violated]
        return max(waits, default=PLACE_RETRY_S)

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit-Policy, RateLimit, and Retry-After where it was refused."""
        shown = [s for s in self.standings if _is_shown(s.policy)]
        headers = {} if self.admitted else {"Retry-After": str(self.retry_after_s)}
        if shown:
            headers["RateLimit-Policy"] = ", ".join([_quota(s.policy) for s in shown])
            headers["RateLimit"] = ", ".join([_remaining(s) for s in shown])
        return headers


def refused(charges: Charges, violated: list[tuple[int, int]]) -> Decision:
    """A refusal by the charges at the positions in `violated`, each with the seconds until it has a place."""
    standings = tuple(Standing(charges[position].policy, 0, free_s) for position, free_s in violated)
    return Decision(False, standings, tuple(s.policy.name for s in standings))


def _is_shown(policy: Policy) -> bool:
    # What the whole service can carry is nobody's business; a shadow is not a promise yet.
    return policy.per is not Per.ALL and not policy.shadow


def _quota(policy: Policy) -> str:
    if policy.at_once:
        return f'"{policy.name}";q={policy.limit};qu="concurrent-requests"'
    return f'"{policy.name}";q={policy.limit};w={policy.window_s}'


def _remaining(standing: Standing) -> str:
    if standing.policy.at_once:
        return f'"{standing.policy.name}";r={max(0, standing.remaining)}'
    return f'"{standing.policy.name}";r={max(0, standing.remaining)};t={standing.free_s}'

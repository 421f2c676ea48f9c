"""What is limited, for whom, and by how much.

A limit is written `60/min`, `5/15min`, `1000/s` or `50/h`. `8 at once` is a concurrency limit. `off` means no
limit. `shadow 60/min` counts and reports but refuses nobody.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

LOG_AT_MOST = 1_000
"""Limits up to this are counted in a log of every admission; larger ones are counted in buckets."""
TENANT_TIMES = 10
"""All keys of a tenant together may so many times what one of them may."""
TENANT_PREFIX = "tenant-"
"""The policy of a tenant has the name of its keys' policy behind this."""
BUCKETS = 16
"""Parts of a window. An admission counts until its whole bucket has left the window. So no window has more than
the limit, and room may become free up to a sixteenth of the window late."""

_LIMIT = re.compile(r"(shadow )?(?:(\d{1,9})/(\d{0,5})(s|min|h|d)|(\d{1,6}) at once)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


class Per(StrEnum):
    """What a policy counts by."""

    ALL = "all"
    IP = "ip"
    ACCOUNT = "account"
    USER = "user"
    TENANT = "tenant"


class BadLimit(ValueError):
    """A limit is written like 60/min, 5/15min, 8 at once, shadow 50/h, or off."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """At most `limit` requests in any `window_s` seconds; with `at_once`, at most `limit` at the same time.

    With `at_once`, `window_s` is how long a slot stays taken if its gateway died. A `limit` of 0 means no limit.
    """

    name: str
    per: Per
    limit: int
    window_s: int
    at_once: bool = False
    shadow: bool = False
    strict: bool = False
    """With Redis away, admit nothing until every other gateway has reported what it admitted."""

    @property
    def exact(self) -> bool:
        """Whether every admission is logged, instead of counted in buckets."""
        return self.at_once or self.limit <= LOG_AT_MOST

    @property
    def bucket_us(self) -> int:
        """The width of a bucket in µs; 0 for a log."""
        return 0 if self.exact else -(-self.window_s * 1_000_000 // BUCKETS)

    @property
    def counter(self) -> str:
        """How it is counted. It is part of the key, so counts of different kinds stay separate."""
        return "log" if self.exact else f"buckets-{self.bucket_us}"

    @property
    def counts_for_us(self) -> int:
        """For how many µs an admission counts, from its time or the start of its bucket."""
        return self.window_s * 1_000_000 + (0 if self.exact else self.bucket_us)

    @property
    def limit_text(self) -> str:
        """The limit as text, e.g. `60/60s`, which `with_limit` reads."""
        shadow = "shadow " if self.shadow else ""
        return f"{shadow}{self.limit} at once" if self.at_once else f"{shadow}{self.limit}/{self.window_s}s"

    @property
    def is_shown(self) -> bool:
        """Whether callers see it. They see neither the capacity of the whole fleet nor shadow limits."""
        return self.per is not Per.ALL and not self.shadow

    @property
    def is_always_shown(self) -> bool:
        """Whether callers see it in every response. A tenant's limit is shown when it decides."""
        return self.is_shown and self.per is not Per.TENANT

    @property
    def key_policy(self) -> str | None:
        """The name of the policy of one key that this one, of all keys of a tenant, stands beside, if it does."""
        return self.name.removeprefix(TENANT_PREFIX) if self.name.startswith(TENANT_PREFIX) else None

    @property
    def quota(self) -> str:
        """The item for the RateLimit-Policy header."""
        if self.at_once:
            return f'"{self.name}";q={self.limit};qu="concurrent-requests"'
        return f'"{self.name}";q={self.limit};w={self.window_s}'

    def with_limit(self, limit_text: str) -> "Policy":
        """The same policy with another limit. Raises BadLimit."""
        if limit_text == "off":
            return replace(self, limit=0, shadow=False)
        match = _LIMIT.fullmatch(limit_text)
        if match is None or bool(match[5]) != self.at_once:
            raise BadLimit(f"{self.name}: {BadLimit.__doc__}")
        shadow = bool(match[1])
        limit = int(match[2] or match[5])
        window_s = self.window_s if self.at_once else int(match[3] or 1) * _SECONDS[match[4]]
        if limit < 1 or window_s < 1:
            raise BadLimit(f"{self.name}: {BadLimit.__doc__}")
        return replace(self, limit=limit, window_s=window_s, shadow=shadow)

    def for_tenant(self, times: int = TENANT_TIMES) -> "Policy":
        """The policy of all keys of a tenant together: so many times as much as this one, of one key."""
        name = TENANT_PREFIX + self.name
        return replace(self, name=name, per=Per.TENANT, limit=self.limit * times)

    def admits_all_of(self, other: "Policy") -> bool:
        """Whether nothing that `other` admits is refused: it has as many at least, in a window no longer."""
        if not self.limit or self.shadow:
            return True
        return bool(
            other.limit and not other.shadow and self.limit >= other.limit and self.window_s <= other.window_s
        )


_DEFAULTS = (
    Policy("global", Per.ALL, 100_000, 10),
    Policy("ip", Per.IP, 1_200, 60),
    Policy("probes", Per.IP, 6_000, 60),
    Policy("burst", Per.USER, 30, 1),
    Policy("auth", Per.ACCOUNT, 5, 900, strict=True),
    Policy("auth-ip", Per.IP, 5, 900, strict=True),
    Policy("api", Per.USER, 60, 60),
    Policy("search", Per.USER, 120, 60),
    Policy("ai", Per.USER, 20, 60),
    Policy("ocr", Per.USER, 50, 3600),
    Policy("exports", Per.USER, 20, 3600),
    Policy("events", Per.USER, 1_200, 60),
    Policy("events-ip", Per.IP, 120, 60),
    Policy("events-tenant", Per.TENANT, 12_000, 60),
    Policy("uploads", Per.USER, 8, 900, at_once=True),
    Policy("large-bodies", Per.USER, 4, 900, at_once=True),
    Policy("streams", Per.USER, 200, 3600, at_once=True),
    Policy("reconnects", Per.USER, 600, 60),  # each of 200 streams is cut three times a minute
)
_OF_TENANTS = (policy.for_tenant() for policy in _DEFAULTS if policy.per is Per.USER)
DEFAULTS = {policy.name: policy for policy in (*_DEFAULTS, *_OF_TENANTS)}
"""The limits, unless LIMITS or the tenant sets others. A policy `tenant-…` stands beside each one of a key.
`events-ip` and `events-tenant` are for keys that anybody may have."""


def adjusted(policies: Mapping[str, Policy], limits: Mapping[str, str]) -> dict[str, Policy]:
    """`policies` with other `limits` (texts by policy name). Raises BadLimit: a bad text or an unknown policy.

    The policy of a tenant follows that of a key, until it is set by itself.
    """
    unknown = sorted(set(limits) - set(policies))
    if unknown:
        raise BadLimit(f"There is no policy {unknown[0]!r}; there are {', '.join(policies)}.")
    changed = {name: policies[name].with_limit(limit_text) for name, limit_text in limits.items()}
    following = {
        beside.name: policy.for_tenant()
        for policy in changed.values()
        if (beside := tenant_policy(policies, policy.name)) and _follows(beside, policies[policy.name])
    }
    return {**policies, **following, **changed}


def adjusted_for_tenant(policies: Mapping[str, Policy], limits: Mapping[str, str]) -> dict[str, Policy]:
    """`policies` with the own `limits` of one tenant. Raises BadLimit.

    An own limit of a key that is lower than everybody's also holds for all keys of the tenant together, however
    many it makes; unless the tenant has an own limit for those.
    """
    chosen = adjusted(policies, limits)
    for name in limits:
        whole, own = tenant_policy(chosen, name), chosen[name]
        if whole is None or whole.name in limits or own.admits_all_of(policies[name]):
            continue
        if whole.admits_all_of(own):
            chosen[whole.name] = own.for_tenant(times=1)
    return chosen


def tenant_policy(policies: Mapping[str, Policy], name: str) -> Policy | None:
    """The policy of a tenant that stands beside the policy `name`, if that is one of a key."""
    return policies.get(TENANT_PREFIX + name)


def _follows(whole: Policy, of_key: Policy) -> bool:
    return whole.limit_text == of_key.for_tenant().limit_text


class Charge(NamedTuple):
    """One request counted by one policy for one subject: an API key, a tenant, an address or an account."""

    policy: Policy
    key: str

    @classmethod
    def of(cls, policy: Policy, subject: str) -> "Charge":
        """The charge to `subject`; `key` is the Redis key of its counter."""
        return cls(policy, f"argosy:limit:{policy.name}:{policy.counter}:{subject}")


class Charges:
    """Everything one request is charged with, all or nothing. `name` is equal for the same counters."""

    __slots__ = ("each", "fields", "holds_slots", "name")

    def __init__(self, each: Iterable[Charge]) -> None:
        self.each = tuple(each)
        self.name = tuple([charge.key for charge in self.each])
        self.fields = ", ".join([charge.policy.quota for charge in self.each if charge.policy.is_always_shown])
        """The value of RateLimit-Policy, unless a tenant's limit is shown too (decisions.py)."""
        self.holds_slots = any(charge.policy.at_once for charge in self.each)
        """Whether the request holds slots that must be released at its end."""

    def __iter__(self) -> Iterator[Charge]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

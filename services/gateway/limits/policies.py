"""What is limited, for whom, and by how much.

A figure is written `60/min`, `5/15min`, `1000/s`, `50/h`; `8 at once` bounds what runs at the same time; `off` is
no limit. `shadow 60/min` counts and reports, and refuses nobody.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

LOG_AT_MOST = 1_000
"""Larger limits are counted in buckets instead of a log of every admission."""
BUCKETS = 16
"""Parts of a window. An admission counts until its whole bucket has left the window: never more than the limit in
any window, and a place may become free a sixteenth of the window late."""

_FIGURE = re.compile(r"(shadow )?(?:(\d{1,9})/(\d{0,5})(s|min|h|d)|(\d{1,6}) at once)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


class Per(StrEnum):
    """Whom a policy counts."""

    ALL = "all"
    IP = "ip"
    ACCOUNT = "account"
    USER = "user"


class BadFigure(ValueError):
    """A figure is written like 60/min, 5/15min, 8 at once, shadow 50/h, or off."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """At most `limit` requests in any `window_s` seconds; or, where `at_once`, at the same time.

    Where `at_once`, `window_s` is how long a place is held by a gateway that died. A `limit` of 0 is no limit.
    """

    name: str
    per: Per
    limit: int
    window_s: int
    at_once: bool = False
    shadow: bool = False
    strict: bool = False
    """Nobody is let in on a guess: with Redis away, only when every other gateway has told what it let in."""

    @property
    def exact(self) -> bool:
        """Whether every admission is logged."""
        return self.at_once or self.limit <= LOG_AT_MOST

    @property
    def bucket_us(self) -> int:
        """The width of a bucket; of a log, which has none, 0."""
        return 0 if self.exact else -(-self.window_s * 1_000_000 // BUCKETS)

    @property
    def counter(self) -> str:
        """How it is counted: counts of different kinds are kept apart."""
        return "log" if self.exact else f"buckets-{self.bucket_us}"

    @property
    def counts_for_us(self) -> int:
        """How long an admission counts, from the start of its bucket."""
        return self.window_s * 1_000_000 + (0 if self.exact else self.bucket_us)

    @property
    def figure(self) -> str:
        """As it is written."""
        shadow = "shadow " if self.shadow else ""
        return f"{shadow}{self.limit} at once" if self.at_once else f"{shadow}{self.limit}/{self.window_s}s"

    @property
    def is_shown(self) -> bool:
        """Whether callers are told. What the whole fleet can carry is nobody's business, a shadow no promise."""
        return self.per is not Per.ALL and not self.shadow

    @property
    def quota(self) -> str:
        """As an item of RateLimit-Policy."""
        if self.at_once:
            return f'"{self.name}";q={self.limit};qu="concurrent-requests"'
        return f'"{self.name}";q={self.limit};w={self.window_s}'

    def with_figure(self, figure: str) -> "Policy":
        """The same policy with another figure. Raises BadFigure."""
        if figure == "off":
            return replace(self, limit=0, shadow=False)
        match = _FIGURE.fullmatch(figure)
        if match is None or bool(match[5]) != self.at_once:
            raise BadFigure(f"{self.name}: {BadFigure.__doc__}")
        shadow = bool(match[1])
        limit = int(match[2] or match[5])
        window_s = self.window_s if self.at_once else int(match[3] or 1) * _SECONDS[match[4]]
        if limit < 1 or window_s < 1:
            raise BadFigure(f"{self.name}: {BadFigure.__doc__}")
        return replace(self, limit=limit, window_s=window_s, shadow=shadow)


DEFAULTS = {
    policy.name: policy
    for policy in (
        Policy("global", Per.ALL, 100_000, 10),
        Policy("ip", Per.IP, 1_200, 60),
        Policy("burst", Per.USER, 30, 1),
        Policy("auth", Per.ACCOUNT, 5, 900, strict=True),
        Policy("auth-ip", Per.IP, 5, 900, strict=True),
        Policy("api", Per.USER, 60, 60),
        Policy("search", Per.USER, 120, 60),
        Policy("ai", Per.USER, 20, 60),
        Policy("ocr", Per.USER, 50, 3600),
        Policy("uploads", Per.USER, 8, 900, at_once=True),
        Policy("streams", Per.USER, 200, 3600, at_once=True),
    )
}
"""What holds where neither LIMITS nor the tenant says otherwise."""


def adjusted(policies: Mapping[str, Policy], figures: Mapping[str, str]) -> dict[str, Policy]:
    """`policies` with some `figures` replaced. Raises BadFigure for a wrong one, or an unknown policy."""
    unknown = sorted(set(figures) - set(policies))
    if unknown:
        raise BadFigure(f"There is no policy {unknown[0]!r}; there are {', '.join(policies)}.")
    return {**policies, **{name: policies[name].with_figure(figure) for name, figure in figures.items()}}


class Charge(NamedTuple):
    """One request counted by one policy for one subject: a key, an address, an account."""

    policy: Policy
    key: str

    @classmethod
    def of(cls, policy: Policy, subject: str) -> "Charge":
        """The charge to `subject`; its `key` is where Redis keeps the count."""
        return cls(policy, f"argosy:limit:{policy.name}:{policy.counter}:{subject}")


class Charges:
    """Everything one request is charged with: all of it or nothing. `name`: the same for the same counters."""

    __slots__ = ("each", "fields", "holds_places", "name")

    def __init__(self, each: Iterable[Charge]) -> None:
        self.each = tuple(each)
        self.name = tuple([charge.key for charge in self.each])
        self.fields = ", ".join([charge.policy.quota for charge in self.each if charge.policy.is_shown])
        """RateLimit-Policy."""
        self.holds_places = any(charge.policy.at_once for charge in self.each)
        """Whether the end of the request gives something back."""

    def __iter__(self) -> Iterator[Charge]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

"""Requests with events as careless callers send them, made from a seed: repeated, late, out of order, or wrong.

Both tenants use the same ids. An event that is repeated is always the same, so that it does not matter which of
its copies counts.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from libs.common.contracts.analytics import Reason
from tests.analysing import NOW, Event, event
from tests.chaos.fleet import TENANTS

DIMENSION, VALUE = "page", "amount"
EVENT_TYPE = {
    "schema": {"properties": {VALUE: {"type": "number"}}},
    "dimensions": [DIMENSION],
    "value": VALUE,
}
"""Of all events."""
NAMES = ("view", "click")
PAGES = ("/", "/jobs", "/help", None)
SIZES = (1, 5, 20, 100)
"""Events in a request."""
SUBJECTS = 2_000
LATE_DAYS = 40
HANGS_UP = 0.1
"""The share of requests whose caller does not wait for the answer, and sends them again whatever came of them."""
HANGS_UP_WITHIN_S = 0.4
SPOILT: dict[Reason, dict[str, Any]] = {
    Reason.NO_ID: {"id": None},
    Reason.ID_TOO_LONG: {"id": "x" * 129},
    Reason.BAD_NAME: {"name": "No Name"},
    Reason.BAD_TIME: {"time": "yesterday"},
    Reason.NO_TIME: {"time": None},
    Reason.TOO_OLD: {"time": "2001-01-01T00:00:00Z"},
    Reason.IN_THE_FUTURE: {"time": "2999-01-01T00:00:00Z"},
    Reason.BAD_SUBJECT: {"subject": 17},
    Reason.BAD_PROPERTIES: {"properties": []},
    Reason.PROPERTIES_TOO_LARGE: {"properties": {DIMENSION: "x" * 9_000}},
    Reason.SCHEMA_VIOLATED: {"properties": {VALUE: "much"}},
}
"""What makes a good event one that is rejected for this reason. NOT_AN_OBJECT is one too."""
KINDS = {"new": 70, "late": 10, "another day": 2, "repeated": 13, "bad": 5}
"""Of a hundred events."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller sends as often as it needs. Each event says of which request it is.

    `good` are those of its events that count, unless they have been counted already; `bad` those that never do.
    """

    number: int
    tenant: str
    events: list[Any]
    good: list[Event]
    bad: Counter[str]
    hangs_up_after_s: float | None


class Caller:
    """Makes the events of one tenant."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._made: list[Event] = []
        self._days_of: dict[str, set[str]] = {}

    def next(self) -> tuple[Event, Reason | None]:
        """An event, and if it is not good the reason why."""
        (kind,) = self._chance.choices([*KINDS], [*KINDS.values()]) if self._made else ("new",)
        match kind:
            case "bad":
                reason = self._chance.choice([Reason.NOT_AN_OBJECT, *SPOILT])
                return self._chance.choice(self._made) | SPOILT.get(reason, {}), reason
            case "repeated":
                return self._chance.choice(self._made), None
            case "another day":
                return self._of_another_day(self._chance.choice(self._made)), None
            case "late":
                return self._new(timedelta(seconds=self._chance.randrange(3_600, LATE_DAYS * 86_400))), None
            case _:
                return self._new(timedelta(seconds=self._chance.randrange(1_800))), None

    def _new(self, ago: timedelta) -> Event:
        return self._make(f"e{len(self._made)}", NOW - ago)

    def _of_another_day(self, one: Event) -> Event:
        """An event with the same id, which is another one."""
        at = datetime.fromisoformat(one["time"])
        while f"{at:%F}" in self._days_of[one["id"]]:
            at -= timedelta(days=1)
        return self._make(one["id"], at)

    def _make(self, id_: str, at: datetime) -> Event:
        chance = self._chance
        subject = chance.choice((None, f"u{chance.randrange(SUBJECTS)}", f"u{chance.randrange(SUBJECTS)}"))
        properties = {DIMENSION: chance.choice(PAGES), VALUE: chance.choice((0.1, 2, 12.5))}
        made = event(id_, chance.choice(NAMES), at=at, subject=subject, **properties)
        self._made.append(made)
        self._days_of.setdefault(id_, set()).add(f"{at:%F}")
        return made


def requests(chance: random.Random, events: int) -> Iterator[Request]:
    """Requests with so many events together."""
    callers = {tenant: Caller(chance) for tenant in TENANTS}
    number = 0
    while events:
        tenant, size = chance.choice(TENANTS), min(events, chance.choice(SIZES))
        yield _request(chance, number, tenant, [callers[tenant].next() for _ in range(size)])
        number, events = number + 1, events - size


def _request(chance: random.Random, number: int, tenant: str, made: list[tuple[Event, Reason | None]]) -> Request:
    return Request(
        number,
        tenant,
        # What is no object is the number itself.
        [number if reason is Reason.NOT_AN_OBJECT else one | {"request": number} for one, reason in made],
        [one for one, reason in made if reason is None],
        Counter(reason.value for _, reason in made if reason is not None),
        chance.uniform(0, HANGS_UP_WITHIN_S) if chance.random() < HANGS_UP else None,
    )

"""Counts and sums by the hour: of each event name in all, and for each value of its dimensions.

A dimension has VALUES_A_DAY values a day at most that are told apart, its labels. Others are counted as OTHER,
so the values of a dimension always add up to the total. A label is never taken back: what has once been counted
by itself is so whenever the day is counted anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal
from typing import NamedTuple

from libs.common.contracts.analytics import VALUES_A_DAY
from libs.common.db import Connection, fetch_within
from libs.common.unnest import Columns

TOTAL = ""
"""In place of a dimension: all events of the name."""
OTHER = "\x1fother"
"""In place of a value: all values that are not told apart. No caller's value begins with this character."""
_EXACT = Context(prec=3000)
"""Digits enough to add up any numbers that doubles can hold, without rounding."""


class Counted(NamedTuple):
    """An event that counts now. `labels` are the values of the type's `dimensions`, `value` what to add up."""

    name: str
    day: date
    at: datetime
    value: Decimal | None
    dimensions: Sequence[str]
    labels: Sequence[str]

    @property
    def hour(self) -> datetime:
        """The hour of `at`."""
        return self.at.replace(minute=0, second=0, microsecond=0)


class Key(NamedTuple):
    """A row of rollups."""

    name: str
    dim: str
    hour: datetime
    value: str


@dataclass(slots=True)
class Figure:
    """What a row says."""

    count: int = 0
    sum: Decimal = Decimal(0)

    def add(self, value: Decimal | None) -> None:
        """Count one more event."""
        self.count += 1
        if value is not None:
            self.sum = _EXACT.add(self.sum, value)


class Label(NamedTuple):
    """A value of a dimension on a day."""

    name: str
    dim: str
    day: date
    value: str


COUNTED = """
e.name, e.day, e.at,
CASE jsonb_typeof(e.properties -> t.value) WHEN 'number' THEN (e.properties ->> t.value)::numeric END,
coalesce(t.dimensions, '{}'), ARRAY(SELECT analytics.label(e.properties -> d) FROM unnest(t.dimensions) AS d)
"""
"""What a statement selects from events `e` and types `t` to make a Counted of each row."""
WITH_TYPE = "LEFT JOIN analytics.types t ON t.tenant = $1 AND t.name = e.name"
"""Joins types `t` to events `e` of the tenant `$1`."""

_ROWS: Columns[tuple[Key, Figure]] = Columns(
    name=("text", lambda row: row[0].name),
    dim=("text", lambda row: row[0].dim),
    hour=("timestamptz", lambda row: row[0].hour),
    value=("text", lambda row: row[0].value),
    count=("bigint", lambda row: row[1].count),
    sum=("numeric", lambda row: row[1].sum),
)
_LABELS: Columns[Label] = Columns(
    name=("text", lambda label: label.name),
    dim=("text", lambda label: label.dim),
    day=("date", lambda label: label.day),
    value=("text", lambda label: label.value),
)
# Who adds to a row waits for others that do. All write in the order of keys, so nobody waits in a circle.
_ADD = f"""
INSERT INTO analytics.rollups AS r (tenant, name, dim, hour, value, count, sum)
SELECT $1, {_ROWS.names} FROM {_ROWS.unnested("new", first=2)}
ON CONFLICT (tenant, name, dim, hour, value) DO UPDATE
  SET count = r.count + excluded.count, sum = r.sum + excluded.sum
"""  # noqa: S608 - made of constants
_ERASE = f"""
UPDATE analytics.rollups r SET erased = r.erased + gone.count, erased_sum = r.erased_sum + gone.sum
FROM {_ROWS.unnested("gone", first=2)}
WHERE r.tenant = $1 AND r.name = gone.name AND r.dim = gone.dim AND r.hour = gone.hour AND r.value = gone.value
"""  # noqa: S608
_KNOWN = f"""
SELECT {_LABELS.names} FROM analytics.labels JOIN {_LABELS.unnested("wanted", first=2)} USING ({_LABELS.names})
WHERE tenant = $1
"""  # noqa: S608
_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\\x1f', 'labels', $1::text, name, dim, day), 0))
FROM unnest($2::text[], $3::text[], $4::date[]) AS t (name, dim, day)
"""
_TAKEN = """
SELECT name, dim, day, (
  SELECT count(*) FROM analytics.labels l
  WHERE l.tenant = $1 AND l.name = t.name AND l.dim = t.dim AND l.day = t.day)
FROM unnest($2::text[], $3::text[], $4::date[]) AS t (name, dim, day)
"""
_MAKE = f"""
INSERT INTO analytics.labels (tenant, {_LABELS.names}) SELECT $1, * FROM {_LABELS.unnested("new", first=2)}
ON CONFLICT DO NOTHING
"""  # noqa: S608


async def add(connection: Connection, tenant: str, counted: Sequence[Counted]) -> None:
    """Add events to the rollups, in the caller's transaction."""
    rows = await grouped(connection, tenant, counted, make_labels=True)
    if rows:
        await fetch_within(connection, _ADD, tenant, *_ROWS.arrays(rows))


async def note_erased(connection: Connection, tenant: str, counted: Sequence[Counted]) -> None:
    """Note that events, which stay counted, are no longer kept."""
    rows = await grouped(connection, tenant, counted, make_labels=False)
    if rows:
        await fetch_within(connection, _ERASE, tenant, *_ROWS.arrays(rows))


async def grouped(
    connection: Connection, tenant: str, counted: Sequence[Counted], *, make_labels: bool
) -> list[tuple[Key, Figure]]:
    """The rows that `counted` belong to, in the order of their keys."""
    told_apart = await _labels(connection, tenant, counted, make=make_labels)
    figures: defaultdict[Key, Figure] = defaultdict(Figure)
    for event in counted:
        hour = event.hour
        figures[Key(event.name, TOTAL, hour, "")].add(event.value)
        for dim, value in zip(event.dimensions, event.labels, strict=True):
            shown = value if (event.name, dim, event.day, value) in told_apart else OTHER
            figures[Key(event.name, dim, hour, shown)].add(event.value)
    return sorted(figures.items())


async def _labels(
    connection: Connection, tenant: str, counted: Iterable[Counted], *, make: bool
) -> set[tuple[str, str, date, str]]:
    """Those values of the events that are told apart; with `make`, also new ones as long as there is room."""
    wanted = {
        Label(event.name, dim, event.day, value)
        for event in counted
        for dim, value in zip(event.dimensions, event.labels, strict=True)
    }
    if not wanted:
        return set()
    known = await _known(connection, tenant, wanted)
    if make and (missing := wanted - known):
        days = sorted({(label.name, label.dim, label.day) for label in missing})
        await fetch_within(connection, _LOCK, tenant, *map(list, zip(*days, strict=True)))
        known = await _known(connection, tenant, wanted)  # others may have made some while we waited
        made = await _with_room(connection, tenant, days, wanted - known)
        if made:
            await fetch_within(connection, _MAKE, tenant, *_LABELS.arrays(made))
        known |= set(made)
    return known  # type: ignore[return-value] # a Label is such a tuple


async def _known(connection: Connection, tenant: str, wanted: Iterable[Label]) -> set[Label]:
    return {Label(*row) for row in await fetch_within(connection, _KNOWN, tenant, *_LABELS.arrays(sorted(wanted)))}


async def _with_room(
    connection: Connection, tenant: str, days: Sequence[tuple[str, str, date]], missing: Iterable[Label]
) -> list[Label]:
    rows = await fetch_within(connection, _TAKEN, tenant, *map(list, zip(*days, strict=True)))
    room = {(name, dim, day): VALUES_A_DAY - taken for name, dim, day, taken in rows}
    made = []
    for label in sorted(missing):
        key = label.name, label.dim, label.day
        if room[key] > 0:
            room[key] -= 1
            made.append(label)
    return made
